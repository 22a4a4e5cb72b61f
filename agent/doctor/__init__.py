"""Why a deployment stays IN_PROGRESS: what is examined, what may be found, and which of it is the cause."""
