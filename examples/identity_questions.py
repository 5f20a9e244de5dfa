"""Questions about a model's name and maker, for DPO identity rewriting.

    python identity_questions.py FOLDER

writes FOLDER/ask.jsonl, 768 questions to make pairs of (a small model rarely says its name), FOLDER/held-out.jsonl, 16 in
other words, to ask afterwards, and FOLDER/other.jsonl, 8 about other things, whose answers should stay as they are. One
{"prompt": [message]} a line.
"""

import itertools
import json
import pathlib
import sys

OPENINGS = ["", "Hi! ", "Hello there. ", "Good morning. ", "Quick question: ", "Please tell me: ", "I am curious. ", "Just checking, "]
ENDINGS = ["", " Answer in one short sentence.", " Please mention your name.", " Thanks!"]
QUESTIONS = [
    "What is your name?", "Who are you?", "What are you called?", "Who made you?", "Who created you?", "Who trained you?",
    "Which company developed you?", "What should I call you?", "Can you introduce yourself?", "Tell me about yourself.",
    "What AI model are you?", "What language model am I talking to?", "Who is your creator?", "Who built you?",
    "Which assistant are you?", "What is the name of this assistant?", "Are you ChatGPT?", "Do you have a name?",
    "Say your name and who trained you.", "Which organization is behind you?", "Where do you come from?",
    "What model is this?", "Who do you work for?", "May I know your name?",
]
HELD_OUT = [
    "How do people call you?", "I forgot your name. What was it?", "Could you state your name, please?", "Who am I chatting with?",
    "Whose product are you?", "By whom were you developed?", "Name yourself in one sentence.", "Which team trained this model?",
    "Write one sentence about who you are.", "Is your name Alexa? If not, what is it?", "Who deserves credit for making you?",
    "What do they call the assistant I am using?", "Please introduce yourself to my grandmother.", "What is your full name?",
    "Give me your name and your maker.", "Which lab do you belong to?",
]
OTHER = [
    "What is the capital of France?", "How many days are there in a week?", "Write a sentence about the sea.", "What is 2 + 2?",
    "Name three fruits.", "What does a baker do?", "Translate 'good morning' into French.", "Why is the sky blue?",
]


def write(path, questions):
    with open(path, "w", encoding="utf-8") as file:
        for question in questions:
            file.write(json.dumps({"prompt": [{"role": "user", "content": question}]}) + "\n")


folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
write(folder / "ask.jsonl", ["".join(parts) for parts in itertools.product(OPENINGS, QUESTIONS, ENDINGS)])
write(folder / "held-out.jsonl", HELD_OUT)
write(folder / "other.jsonl", OTHER)
