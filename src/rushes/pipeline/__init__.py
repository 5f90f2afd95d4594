"""The workflows, in order: finalize, process with its stages, and the small ones that clean up."""
