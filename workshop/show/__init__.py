"""What a lesson shows and a reader presses; one module for each."""
