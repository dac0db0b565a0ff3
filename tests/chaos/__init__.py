"""Workers, clocks and brokers are killed at random while messages leave, and what became of each message is counted: `./dev chaos`."""
