"""A local stand-in of the Credentials service, with fault switches: test tooling, never to be exposed to a network."""
