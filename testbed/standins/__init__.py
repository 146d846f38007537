"""Services that a site asks, each played by a small server that answers as the real one does."""
