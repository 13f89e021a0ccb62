"""`python -m rlsd_cli` is `rlsd`."""

from rlsd_cli.app import entry

if __name__ == "__main__":
    entry()
