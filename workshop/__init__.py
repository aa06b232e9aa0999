"""What the course needs beside LangGraph: a model, eyes and checks."""
