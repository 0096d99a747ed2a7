"""Networks of policies in C++ for processors with AVX-512, compiled where they run or carried by an export."""
