"""The interactive parts of the lessons, a module for each.

A lesson shows its LangGraph and asyncio code; what only draws widgets and
takes clicks is here.
"""
