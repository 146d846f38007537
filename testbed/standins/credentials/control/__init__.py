"""What a test or a run tells the stand-in of Credentials beyond its API: faults, clocks, and a look inside."""
