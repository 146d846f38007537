"""What reads the operators' pages, and renders what they give to Tutor."""
