//! The configuration: defaults, a file and the environment, merged by figment and checked as a whole.
//!
//! `config/default.toml` is built in and holds every key. A file overrides it, and `TIERD__TABLE__KEY` overrides the
//! file. Who runs the daemon should mend a configuration once and not once per mistake, so nothing here stops at the
//! first problem: what cannot be read is noted and put back to its default ([`mod@read`]), and what was read is then
//! checked for sense ([`mod@validate`]). Each problem names its file and line or its environment variable, the key,
//! what is wrong and what would be right.

mod env;
mod lines;
mod problem;
mod read;
mod render;
mod settings;
pub mod units;
mod validate;

use std::path::{Path, PathBuf};

pub use problem::{ConfigError, Place, Problem};
pub use settings::*;

use env::Overrides;
use lines::KeyLines;

/// The built-in configuration, with its comments.
pub const DEFAULT_TOML: &str = include_str!("../../config/default.toml");

/// Where the file is if nobody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/tierd/tierd.toml";

/// The environment variable that names the file.
pub const PATH_VARIABLE: &str = "TIERD_CONFIG";

/// A configuration that is in order, and where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub settings: Settings,
    pub origin: Origin,
}

/// Where a configuration came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub file: PathBuf,
    /// The environment variables that override the file, sorted. Their names only.
    pub variables: Vec<String>,
}

/// Loads the configuration: `explicit` (the command line's), else the file that `TIERD_CONFIG` in `env` names, else
/// `/etc/tierd/tierd.toml`; then what `env` overrides.
///
/// Fails if the file is missing or cannot be read, and otherwise with all problems of the configuration at once.
pub fn load(explicit: Option<&Path>, env: impl IntoIterator<Item = (String, String)>) -> Result<Loaded, ConfigError> {
    let env: Vec<(String, String)> = env.into_iter().collect();
    let named = env.iter().find(|(name, value)| name == PATH_VARIABLE && !value.is_empty());
    let (file, said_by) = match (explicit, named) {
        (Some(path), _) => (path.to_owned(), "--config names it"),
        (None, Some((_, path))) => (PathBuf::from(path), "TIERD_CONFIG names it"),
        (None, None) => (PathBuf::from(DEFAULT_PATH), "neither --config nor TIERD_CONFIG names another"),
    };
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(ConfigError::NotFound { path: file, said_by });
        }
        Err(source) => return Err(ConfigError::Unreadable { path: file, source }),
    };
    let directory = file.parent().map(Path::to_owned).unwrap_or_default();
    let sources = Sources { file: Some(&file), directory: &directory, text: &text };
    let (overrides, bad_variables) = Overrides::from_env(env);
    let variables = overrides.variables().map(str::to_owned).collect();
    let settings = settle(sources, overrides, bad_variables)?;
    Ok(Loaded { settings, origin: Origin { file, variables } })
}

impl Settings {
    /// The defaults and what `text` overrides, checked like a file. Relative paths stay relative.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let sources = Sources { file: None, directory: Path::new(""), text };
        settle(sources, Overrides::default(), Vec::new())
    }

    /// The configuration as it takes effect, as TOML that [`Settings::from_toml`] reads back.
    pub fn to_toml(&self) -> String {
        render::to_toml(self)
    }
}

/// The text of a configuration, and where it stands.
struct Sources<'a> {
    file: Option<&'a Path>,
    directory: &'a Path,
    text: &'a str,
}

fn settle(
    sources: Sources<'_>,
    overrides: Overrides,
    bad_variables: Vec<env::BadVariable>,
) -> Result<Settings, ConfigError> {
    let file = sources.file.map(Path::to_owned);
    let mut problems: Vec<Problem> = bad_variables
        .into_iter()
        .map(|(variable, wrong, right)| Problem { place: Place::Variable(variable), key: None, wrong, right })
        .collect();
    if let Err(syntax) = read::check_syntax(sources.text) {
        let place = Place::File { file, line: syntax.line };
        let right = "mend the syntax; the keys are checked once it is TOML".to_owned();
        problems.push(Problem { place, key: None, wrong: syntax.message, right });
        return Err(ConfigError::Invalid(problems));
    }

    let lines = KeyLines::of_toml(sources.text);
    let (settings, broken) = read::read(sources.text, &overrides);
    let variable_of = |path: &[String]| {
        let within = || overrides.variable_within(path).filter(|_| !lines.has(path));
        overrides.variable_of(path).or_else(within)
    };
    let place_of = |path: &[String]| match variable_of(path) {
        Some(variable) => Place::Variable(variable.to_owned()),
        None => Place::File { file: file.clone(), line: lines.of(path) },
    };
    let problem = |finding: read::Finding| Problem {
        place: place_of(&finding.path),
        key: Some(problem::display_key(&finding.path)),
        wrong: finding.wrong,
        right: finding.right,
    };

    let senseless = settings.map(|mut settings| {
        if let Some(policy) = &mut settings.provision.bucket_policy_file {
            *policy = sources.directory.join(&*policy);
        }
        if let Some(prices) = &mut settings.transition.prices_file {
            *prices = sources.directory.join(&*prices);
        }
        let mut findings = validate::validate(&settings);
        for finding in &mut findings {
            finding.path = broken.original(&finding.path);
        }
        // What could not be read is at its default now; whatever seems wrong with that is not the user's doing.
        findings.retain(|finding| !broken.touches(&finding.path));
        (settings, findings)
    });
    let (settings, findings) = senseless.map_or((None, Vec::new()), |(settings, findings)| (Some(settings), findings));
    problems.extend(broken.findings.into_iter().chain(findings).map(problem));
    match settings {
        Some(settings) if problems.is_empty() => Ok(settings),
        _ => {
            problems.sort_by_key(|problem| problem.place.line());
            Err(ConfigError::Invalid(problems))
        }
    }
}

/// The one of `names` that `word` was probably meant to be: within a third of its length in edits.
fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    names
        .into_iter()
        .map(|name| (edits(&word, &name.to_ascii_lowercase()), name))
        .filter(|(edits, name)| *edits <= (name.len().max(word.len()) / 3).max(1))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

/// The edit distance (Levenshtein), by characters.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
