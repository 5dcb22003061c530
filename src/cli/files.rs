//! Writing a file whole.

use std::path::Path;

/// Writes beside the file and renames: whoever looks meanwhile sees the old one or the new one, never half of one.
pub async fn write_whole(file: &Path, text: &str) -> std::io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(format!(".{}.part", std::process::id()));
    let written = async {
        tokio::fs::write(&beside, text).await?;
        tokio::fs::rename(&beside, file).await
    };
    match written.await {
        Ok(()) => Ok(()),
        Err(error) => {
            let _never_there = tokio::fs::remove_file(&beside).await;
            Err(error)
        }
    }
}
