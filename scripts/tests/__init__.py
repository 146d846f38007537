"""The tests of the commands, on small checkouts and on a copy of this repository without the change."""
