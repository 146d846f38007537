"""What reads the operators' pages, and renders their Tutor plugin."""
