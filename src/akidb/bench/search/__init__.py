"""Search, side by side with the engines that are installed (`akidb bench search`)."""
