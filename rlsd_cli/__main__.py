"""`python -m rlsd_cli` is `rlsd`."""

from rlsd_cli.app import main

if __name__ == "__main__":
    main()
