//! `entrabot man`: the manual pages, from the same words as the help.

use std::path::Path;

use super::YES;
use crate::failure::Failure;
use crate::terminal;

/// The page of the program to stdout, or one page for each command into a directory.
pub(crate) fn run(directory: Option<&Path>) -> Result<u8, Failure> {
    let command = crate::cli::Cli::command();
    match directory {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command)
                .render(&mut page)
                .map_err(|error| Failure::io("make the page", &error))?;
            terminal::bytes(&page)?;
        }
        Some(directory) => {
            let failed =
                |error: std::io::Error| Failure::io(&format!("write to {}", directory.display()), &error);
            std::fs::create_dir_all(directory).map_err(failed)?;
            clap_mangen::generate_to(command, directory).map_err(failed)?;
        }
    }
    Ok(YES)
}
