"""The parts of the fuzzers: mutations of files, line coverage, and the processes that open the files."""
