//! The text: lexer, syntax tree, parser.
