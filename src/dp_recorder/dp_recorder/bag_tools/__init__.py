"""Tools for recorded bags: list, describe, check, repair, cut, picture and play them. None loads a bag whole."""
