# %% [markdown]
# # The course, lesson by lesson
#
# Click a lesson and run its cells from the top with **Shift+Enter**. Then do
# its lab: the exercise has a check for each task, and the solution says why.

# %% [markdown]
# {course}
#
# The museum and the [modes cheat sheet](03_cheat_sheet.md) are pages to come
# back to. To look a word up, press **Ctrl+F** in a notebook.
