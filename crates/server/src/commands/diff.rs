//! What changes in a file, for a person to read before it does.

use std::fmt::Write as _;

/// Lines around a change that are shown.
const CONTEXT: usize = 3;

/// The change between two texts as one hunk of a unified diff; empty when there is none.
pub(super) fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    let same = old.iter().zip(&new).take_while(|(one, other)| one == other).count();
    let rest = old[same..].iter().rev().zip(new[same..].iter().rev());
    let end = rest.take_while(|(one, other)| one == other).count();
    let (old_end, new_end) = (old.len() - end, new.len() - end);
    if same == old_end && same == new_end {
        return String::new();
    }
    let first = same.saturating_sub(CONTEXT);
    let last = (old_end + CONTEXT).min(old.len());
    let mut text = String::new();
    let count = last - first + new_end - old_end;
    // A String takes any text.
    let _written = writeln!(text, "@@ -{},{} +{},{} @@", first + 1, last - first, first + 1, count);
    for (mark, lines) in [
        (' ', &old[first..same]),
        ('-', &old[same..old_end]),
        ('+', &new[same..new_end]),
        (' ', &old[old_end..last]),
    ] {
        for line in lines {
            let _written = writeln!(text, "{mark}{}", crate::failure::cleaned(line));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_shown_with_the_lines_around_it() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n";
        let new = "1\n2\n3\n4\nfive\nand more\n6\n7\n8\n";
        assert_eq!(diff(old, new), "@@ -2,7 +2,8 @@\n 2\n 3\n 4\n-5\n+five\n+and more\n 6\n 7\n 8\n");
        assert_eq!(diff(old, old), "");
        assert_eq!(diff("", "a\n"), "@@ -1,0 +1,1 @@\n+a\n");
        assert_eq!(diff("a\n", ""), "@@ -1,1 +1,0 @@\n-a\n");
        assert_eq!(diff("a\na\n", "a\n"), "@@ -1,2 +1,1 @@\n a\n-a\n");
    }
}
