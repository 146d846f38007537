"""A local stand-in of the Discovery service: test tooling, never to be exposed to a network."""
