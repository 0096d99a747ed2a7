"""Episode recorder node and bag writer."""
