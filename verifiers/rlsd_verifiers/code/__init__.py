"""Programs: their tests become inputs that go into a jail, and what comes out is judged outside of it."""
