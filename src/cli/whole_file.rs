//! A file that is there whole or not at all: written beside its place, and renamed to it at the end. Whoever looks meanwhile
//! sees the file as it was before, never half of the new one.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A file on its way. Dropped before [`WholeFile::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct WholeFile {
    place: PathBuf,
    beside: PathBuf,
    out: Option<BufWriter<File>>,
}

impl WholeFile {
    pub fn create(place: &Path) -> io::Result<Self> {
        let mut beside = place.as_os_str().to_owned();
        beside.push(format!(".{}.part", std::process::id()));
        let beside = PathBuf::from(beside);
        let out = Some(BufWriter::new(File::create(&beside)?));
        Ok(Self { place: place.to_owned(), beside, out })
    }

    /// Puts the file in its place.
    pub fn finish(mut self) -> io::Result<()> {
        if let Some(out) = self.out.take() {
            let renamed = out.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| {
                file.sync_all()?;
                fs::rename(&self.beside, &self.place)
            });
            if renamed.is_err() {
                self.remove();
            }
            renamed?;
        }
        Ok(())
    }

    fn remove(&self) {
        let _never_there = fs::remove_file(&self.beside);
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.out {
            Some(out) => out.write(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if self.out.take().is_some() {
            self.remove();
        }
    }
}

/// Writes a text whole.
pub fn write_whole(place: &Path, text: &str) -> io::Result<()> {
    let mut whole = WholeFile::create(place)?;
    whole.write_all(text.as_bytes())?;
    whole.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_whole_or_as_it_was_before() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("plan.jsonl");
        let names = || fs::read_dir(folder.path()).unwrap().count();

        let mut first = WholeFile::create(&place).unwrap();
        first.write_all(b"one").unwrap();
        assert!(!place.exists());
        first.finish().unwrap();
        assert_eq!((fs::read(&place).unwrap(), names()), (b"one".to_vec(), 1));

        let mut second = WholeFile::create(&place).unwrap();
        second.write_all(b"two").unwrap();
        drop(second);
        assert_eq!((fs::read(&place).unwrap(), names()), (b"one".to_vec(), 1));
        assert!(WholeFile::create(&folder.path().join("nowhere/plan")).is_err());
    }
}
