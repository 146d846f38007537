"""A site on this machine: its LMS, worker, consumer and configuration, on the servers and the stand-ins."""
