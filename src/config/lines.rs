//! On which line of a TOML file each key stands, so that an error can say so.
//!
//! This is no parser: the text has been parsed already and is known to be TOML. It walks over the headers and keys,
//! and skips values only as far as strings and brackets ask for. What stands inside an inline table or an array has no
//! line of its own; [`KeyLines::of`] answers with that of the nearest key around it.

use std::collections::BTreeMap;

/// Key path → line, counted from 1. An element of `[[a.b]]` has its index, from 0, as a segment.
#[derive(Debug, Default)]
pub struct KeyLines(BTreeMap<Vec<String>, usize>);

impl KeyLines {
    /// Walks over `text`, which must be valid TOML.
    pub fn of_toml(text: &str) -> Self {
        let mut lines = Self::default();
        let mut elements: BTreeMap<Vec<String>, usize> = BTreeMap::new();
        let mut table: Vec<String> = Vec::new();
        let mut cursor = Cursor { rest: text, line: 1 };
        loop {
            cursor.skip_blank();
            let line = cursor.line;
            if cursor.rest.is_empty() {
                return lines;
            } else if cursor.eat("[[") {
                let list = resolve(&cursor.key_path(), &elements);
                let index = elements.entry(list.clone()).and_modify(|last| *last += 1).or_insert(0);
                table = list.clone();
                table.push(index.to_string());
                lines.0.entry(list).or_insert(line);
                lines.0.insert(table.clone(), line);
                cursor.skip_line();
            } else if cursor.eat("[") {
                table = resolve(&cursor.key_path(), &elements);
                lines.0.insert(table.clone(), line);
                cursor.skip_line();
            } else {
                let mut path = table.clone();
                path.extend(cursor.key_path());
                // Of a dotted key, the tables on the way have no line of their own.
                for depth in table.len() + 1..path.len() {
                    lines.0.entry(path[..depth].to_vec()).or_insert(line);
                }
                lines.0.insert(path, line);
                if !cursor.eat("=") {
                    return lines;
                }
                cursor.skip_value();
            }
        }
    }

    /// The line of `path`, or of the nearest key or table around it that is in the file.
    pub fn of(&self, path: &[String]) -> Option<usize> {
        (1..=path.len()).rev().find_map(|depth| self.0.get(&path[..depth])).copied()
    }

    /// Whether `path` itself stands in the file on a line of its own.
    pub fn has(&self, path: &[String]) -> bool {
        self.0.contains_key(path)
    }
}

/// `[a.b]` below `[[a]]` speaks of the last element of `a`.
fn resolve(header: &[String], elements: &BTreeMap<Vec<String>, usize>) -> Vec<String> {
    let mut path = Vec::new();
    for (depth, segment) in header.iter().enumerate() {
        path.push(segment.clone());
        if depth + 1 < header.len() {
            path.extend(elements.get(&path).map(usize::to_string));
        }
    }
    path
}

struct Cursor<'a> {
    rest: &'a str,
    line: usize,
}

impl Cursor<'_> {
    fn advance(&mut self, bytes: usize) {
        let (passed, rest) = self.rest.split_at(bytes.min(self.rest.len()));
        self.line += passed.matches('\n').count();
        self.rest = rest;
    }

    fn skip_spaces(&mut self) {
        let spaces = self.rest.len() - self.rest.trim_start_matches([' ', '\t']).len();
        self.advance(spaces);
    }

    fn skip_line(&mut self) {
        self.advance(self.rest.find('\n').map_or(self.rest.len(), |end| end + 1));
    }

    /// Over white space, line ends and comments.
    fn skip_blank(&mut self) {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.advance(blank);
            if !self.rest.starts_with('#') {
                return;
            }
            self.skip_line();
        }
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip_spaces();
        let found = self.rest.starts_with(token);
        if found {
            self.advance(token.len());
        }
        found
    }

    /// A key: bare or quoted segments with dots between.
    fn key_path(&mut self) -> Vec<String> {
        let mut path = Vec::new();
        loop {
            self.skip_spaces();
            match self.rest.chars().next() {
                Some(quote @ ('"' | '\'')) => {
                    let before = self.rest;
                    self.skip_string(quote);
                    let quoted = &before[..before.len() - self.rest.len()];
                    path.push(quoted.trim_matches(quote).to_owned());
                }
                _ => {
                    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                    let end = self.rest.find(|c| !bare(c)).unwrap_or(self.rest.len());
                    path.push(self.rest[..end].to_owned());
                    self.advance(end);
                }
            }
            if !self.eat(".") {
                return path;
            }
        }
    }

    /// Over one string, which begins here.
    fn skip_string(&mut self, quote: char) {
        let triple: String = std::iter::repeat_n(quote, 3).collect();
        let (open, close) = if self.rest.starts_with(&triple) { (3, triple) } else { (1, quote.to_string()) };
        self.advance(open);
        while !self.rest.is_empty() && !self.rest.starts_with(&close) {
            let escaped = quote == '"' && self.rest.starts_with('\\');
            let step = self.rest.chars().take(if escaped { 2 } else { 1 }).map(char::len_utf8).sum();
            self.advance(step);
        }
        self.advance(close.len());
        // A multi-line string may end in up to two quotes of its own content.
        while open == 3 && self.rest.starts_with(quote) {
            self.advance(1);
        }
    }

    /// Over one value and the rest of its line, or of its lines where brackets are open.
    fn skip_value(&mut self) {
        let mut open_brackets = 0_usize;
        while let Some(c) = self.rest.chars().next() {
            match c {
                '"' | '\'' => {
                    self.skip_string(c);
                    continue;
                }
                '#' => {
                    // To the line's end, which is for the next turn.
                    self.advance(self.rest.find('\n').unwrap_or(self.rest.len()));
                    continue;
                }
                '[' | '{' => open_brackets += 1,
                ']' | '}' => open_brackets = open_brackets.saturating_sub(1),
                '\n' if open_brackets == 0 => return,
                _ => {}
            }
            self.advance(c.len_utf8());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_through_tables_lists_strings_and_comments() {
        let text = r##"# a comment with [brackets] = "x"
top = 1
[a]
text = "a # no comment \" [ " # one
list = [
  "x", # ]
  'y',
]
after = 2
"quoted key" = 3
[[a.b]]
k = """
[not.a.header]
"""
[a.b.c]
z = 1
[[a.b]]
k = '''x'''
d.e = 4
"##;
        let lines = KeyLines::of_toml(text);
        for (path, line) in [
            ("top", 2),
            ("a", 3),
            ("a.text", 4),
            ("a.list", 5),
            ("a.after", 9),
            ("a.quoted key", 10),
            ("a.b", 11),
            ("a.b.0", 11),
            ("a.b.0.k", 12),
            ("a.b.0.c", 15),
            ("a.b.0.c.z", 16),
            ("a.b.1", 17),
            ("a.b.1.k", 18),
            ("a.b.1.d.e", 19),
        ] {
            let segments: Vec<String> = path.split('.').map(str::to_owned).collect();
            assert!(lines.has(&segments), "{path}");
            assert_eq!(lines.of(&segments), Some(line), "{path}");
        }
        assert_eq!(lines.of(&["not".to_owned()]), None);
        let inside = ["a", "list", "1"].map(str::to_owned);
        assert_eq!(lines.of(&inside), Some(5), "an element has its list's line");
    }

    #[test]
    fn the_walk_ends_on_anything() {
        for text in ["[", "[[", "a", "a = \"", "= 1", "[a]]\n", "\"\"\"", "a = [1,\n#", "é = 1\n"] {
            KeyLines::of_toml(text);
        }
    }
}
