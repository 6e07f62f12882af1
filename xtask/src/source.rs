//! A Rust file split into code, string literals and comments, line by line.

use std::iter::Peekable;
use std::str::Chars;

/// A file's lines.
pub(crate) struct Source {
    pub(crate) lines: Vec<Line>,
}

/// One line. Each field contains only its own kind.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) code: String,
    /// The contents of string literals.
    pub(crate) text: String,
    pub(crate) comment: String,
}

impl Source {
    pub(crate) fn read(text: &str) -> Self {
        let mut reader =
            Reader { rest: text.chars().peekable(), lines: Vec::new(), line: Line::default() };
        while let Some(next) = reader.rest.next() {
            reader.read_after(next);
        }
        reader.lines.push(reader.line);
        Self { lines: reader.lines }
    }

    /// The code, without a test module at its end.
    pub(crate) fn shipped_code(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_test_module = |at: usize| {
            let [attribute, module] = [at, at + 1].map(|at| self.lines.get(at));
            attribute.is_some_and(|line| line.code.trim() == "#[cfg(test)]")
                && module.is_some_and(|line| {
                    line.code.trim_start().starts_with("mod ") && line.code.contains('{')
                })
        };
        let end = (0..self.lines.len()).find(|at| is_test_module(*at));
        let lines = self.lines.iter().take(end.unwrap_or(self.lines.len()));
        lines.enumerate().map(|(at, line)| (at + 1, line.code.as_str()))
    }
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    lines: Vec<Line>,
    line: Line,
}

impl Reader<'_> {
    fn read_after(&mut self, next: char) {
        match (next, self.rest.peek()) {
            ('/', Some('/')) => self.line_comment(),
            ('/', Some('*')) => self.block_comment(),
            ('"', _) => self.string(),
            ('r', Some('"' | '#')) if !ends_in_name(&self.line.code) => self.raw_string(),
            ('\'', _) => self.character_or_lifetime(),
            _ => self.code(next),
        }
    }

    fn code(&mut self, next: char) {
        if next == '\n' { self.end_line() } else { self.line.code.push(next) }
    }

    fn line_comment(&mut self) {
        self.rest.next();
        while let Some(next) = self.rest.next_if(|next| *next != '\n') {
            self.line.comment.push(next);
        }
    }

    fn block_comment(&mut self) {
        self.rest.next();
        let mut depth = 1;
        while depth > 0 {
            let Some(next) = self.rest.next() else { return };
            match (next, self.rest.peek()) {
                ('/', Some('*')) => {
                    self.rest.next();
                    depth += 1;
                }
                ('*', Some('/')) => {
                    self.rest.next();
                    depth -= 1;
                }
                ('\n', _) => self.end_line(),
                _ => self.line.comment.push(next),
            }
        }
    }

    /// After the opening quote.
    fn string(&mut self) {
        while let Some(next) = self.rest.next() {
            match next {
                '"' => return,
                '\\' => match self.rest.next() {
                    Some('\n') => self.end_line(),
                    _ => self.line.text.push('\\'),
                },
                '\n' => self.end_line(),
                _ => self.line.text.push(next),
            }
        }
    }

    /// After the `r`, which may also begin a raw name.
    fn raw_string(&mut self) {
        let mut hashes = 0;
        while self.rest.next_if_eq(&'#').is_some() {
            hashes += 1;
        }
        if self.rest.next_if_eq(&'"').is_none() {
            return;
        }
        while let Some(next) = self.rest.next() {
            match next {
                '"' if self.skip_hashes(hashes) => return,
                '\n' => self.end_line(),
                _ => self.line.text.push(next),
            }
        }
    }

    fn skip_hashes(&mut self, hashes: usize) -> bool {
        let mut ahead = self.rest.clone();
        let all_there = (0..hashes).all(|_| ahead.next() == Some('#'));
        if all_there {
            self.rest = ahead;
        }
        all_there
    }

    /// `'x'` and `'\n'` are characters, `'a` is a lifetime.
    fn character_or_lifetime(&mut self) {
        let mut ahead = self.rest.clone();
        match ahead.next() {
            Some('\\') => {
                self.rest.next();
                self.rest.next();
                while self.rest.next_if(|next| *next != '\'').is_some() {}
                self.rest.next();
            }
            Some(_) if ahead.next() == Some('\'') => self.rest = ahead,
            _ => self.line.code.push('\''),
        }
    }

    fn end_line(&mut self) {
        self.lines.push(std::mem::take(&mut self.line));
    }
}

fn ends_in_name(code: &str) -> bool {
    code.ends_with(|last: char| last.is_alphanumeric() || last == '_')
}

/// The lines of a text with their numbers, from 1.
pub(crate) fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line))
}

/// The comments of an SQL file, with their line numbers.
pub(crate) fn sql_comments(text: &str) -> impl Iterator<Item = (usize, &str)> {
    numbered(text).filter_map(|(at, line)| Some((at, line.split_once("--")?.1)))
}
