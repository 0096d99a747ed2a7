"""`dp benchmark latency`: what added inference latency costs, for ways to execute chunks, on the virtual clock."""
