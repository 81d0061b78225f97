//! The drives: documents and files on disk, `{drive id}/{item id}/{name}`.

mod docx;
mod html;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use serde_json::{Value, json};
use uuid::Uuid;

use super::SeededFile;
use super::fixture::now;

pub(crate) use docx::Comment;

/// MIME type of a Word document.
pub(crate) const DOCX: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";

/// One file in a drive.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) drive_id: String,
    pub(crate) item_id: String,
    /// Object id of the user whose drive it is.
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) web_url: String,
    pub(crate) created: String,
    pub(crate) mime: String,
    path: PathBuf,
    /// What a Word document was made from; comments are put in by making it again.
    source: Option<String>,
    comments: Vec<Comment>,
    /// What was read back last, and when the file had been written then.
    read: Option<(SystemTime, String, Vec<Comment>)>,
}

/// All drives.
#[derive(Debug)]
pub(crate) struct Documents {
    root: PathBuf,
    items: Vec<Item>,
    seeded: Vec<SeededFile>,
}

impl Documents {
    /// Drives below this directory.
    pub(crate) fn open(root: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&root)?;
        Ok(Self { root, items: Vec::new(), seeded: Vec::new() })
    }

    /// Puts a text file and an image into a user's drive.
    pub(crate) fn seed(&mut self, user: &str, upn: &str) -> io::Result<()> {
        let text = "Notes of the stand-in.\nZweite Zeile: Grüße, 漢字, 🙂\n";
        let pixel: &[u8] = &[
            0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, b'I', b'H', b'D', b'R', 0, 0, 0,
            1, 0, 0, 0, 1, 8, 6, 0, 0, 0, 0x1f, 0x15, 0xc4, 0x89, 0, 0, 0, 0x0d, b'I', b'D', b'A', b'T',
            0x78, 0x9c, 0x63, 0x60, 0x60, 0x60, 0xf8, 0x0f, 0, 1, 4, 1, 0, 0x5f, 0xe5, 0xc3, 0x4b, 0, 0, 0,
            0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82,
        ];
        for (name, mime, bytes) in
            [("notes.txt", "text/plain", text.as_bytes()), ("pixel.png", "image/png", pixel)]
        {
            let item = self.place(user, upn, name, mime)?;
            fs::write(&item.path, bytes)?;
            self.seeded.push(SeededFile {
                name: name.to_owned(),
                drive_id: item.drive_id.clone(),
                item_id: item.item_id.clone(),
                web_url: item.web_url.clone(),
            });
            self.items.push(item);
        }
        Ok(())
    }

    /// The files put in from the start.
    pub(crate) fn seeded(&self) -> Vec<SeededFile> {
        self.seeded.clone()
    }

    /// Makes a Word document out of HTML in the user's drive.
    pub(crate) fn create(&mut self, user: &str, upn: &str, name: &str, html: &str) -> io::Result<Item> {
        let name = self.free_name(user, name);
        let mut item = self.place(user, upn, &name, DOCX)?;
        item.source = Some(html.to_owned());
        docx::write(&item.path, &html::parse(html), &[])?;
        self.items.push(item.clone());
        Ok(item)
    }

    /// A user's item by drive and item id.
    pub(crate) fn item(&self, user: &str, drive: &str, item: &str) -> Option<&Item> {
        self.items
            .iter()
            .find(|known| known.owner == user && known.drive_id == drive && known.item_id == item)
    }

    /// A user's item by its URL; the query does not matter.
    pub(crate) fn by_url(&self, user: &str, url: &str) -> Option<&Item> {
        self.items.iter().find(|known| known.owner == user && same_document(&known.web_url, url))
    }

    /// The same, to be read back.
    pub(crate) fn by_url_mut(&mut self, user: &str, url: &str) -> Option<&mut Item> {
        self.items.iter_mut().find(|known| known.owner == user && same_document(&known.web_url, url))
    }

    /// Where the document of a URL lies, whoever owns it.
    pub(crate) fn path_of(&self, url: &str) -> Option<PathBuf> {
        self.items.iter().find(|known| same_document(&known.web_url, url)).map(|item| item.path.clone())
    }

    /// Adds a comment, or a reply to one; gives its id. The document on disk has it at once.
    pub(crate) fn comment(
        &mut self,
        user: &str,
        (drive, item): (&str, &str),
        parent: Option<&str>,
        author: &str,
        text: &str,
    ) -> io::Result<Option<Comment>> {
        let found = self.items.iter_mut().find(|known| {
            known.owner == user && known.drive_id == drive && known.item_id == item && known.source.is_some()
        });
        let Some(found) = found else { return Ok(None) };
        let parent = match parent {
            None => None,
            // Word keeps one level: a reply to a reply hangs on the first comment.
            Some(id) => match found.comments.iter().find(|comment| comment.id.to_string() == id) {
                Some(comment) => Some(comment.parent.unwrap_or(comment.id)),
                None => return Ok(None),
            },
        };
        let comment = Comment {
            id: found.comments.len() + 1,
            parent,
            author: author.to_owned(),
            date: now(),
            text: text.to_owned(),
        };
        found.comments.push(comment.clone());
        let source = found.source.clone().unwrap_or_default();
        docx::write(&found.path, &html::parse(&source), &found.comments)?;
        Ok(Some(comment))
    }

    /// Every item, for the control endpoint.
    pub(crate) fn summary(&self) -> Value {
        let shown = self.items.iter().map(|item| {
            json!({"name": item.name, "driveId": item.drive_id, "itemId": item.item_id, "webUrl": item.web_url,
                   "path": item.path, "comments": item.comments.len()})
        });
        shown.collect()
    }

    fn place(&self, user: &str, upn: &str, name: &str, mime: &str) -> io::Result<Item> {
        let drive_id = drive_of(user);
        let guid = Uuid::new_v4();
        let item_id = item_id(guid);
        let dir = self.root.join(&drive_id).join(&item_id);
        fs::create_dir_all(&dir)?;
        let folder: String =
            upn.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect();
        let escaped: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
        let web_url = if mime == DOCX {
            format!(
                "https://contoso-my.sharepoint.com/personal/{folder}/_layouts/15/Doc.aspx?sourcedoc=%7B{}%7D&file={}&action=default&mobileredirect=true",
                guid.to_string().to_uppercase(),
                escaped.replace('+', "%20"),
            )
        } else {
            format!(
                "https://contoso-my.sharepoint.com/personal/{folder}/Documents/{}",
                escaped.replace('+', "%20")
            )
        };
        Ok(Item {
            drive_id,
            item_id,
            owner: user.to_owned(),
            name: name.to_owned(),
            web_url,
            created: now(),
            mime: mime.to_owned(),
            path: dir.join(name),
            source: None,
            comments: Vec::new(),
            read: None,
        })
    }

    /// The name with `.docx`, made unique in the drive like Word does: `Name 1.docx`.
    fn free_name(&self, user: &str, wanted: &str) -> String {
        let stem = wanted.trim();
        let stem = stem.strip_suffix(".docx").unwrap_or(stem);
        let stem = if stem.is_empty() { "Document" } else { stem };
        // Whatever a caller wrote, the name stays one file name on our disk.
        let stem: String =
            stem.chars().map(|letter| if "/\\:*?\"<>|".contains(letter) { '_' } else { letter }).collect();
        let taken = |name: &str| self.items.iter().any(|item| item.owner == user && item.name == name);
        let mut name = format!("{stem}.docx");
        let mut number = 1;
        while taken(&name) {
            name = format!("{stem} {number}.docx");
            number += 1;
        }
        name
    }
}

impl Item {
    /// Its bytes.
    pub(crate) fn bytes(&self) -> io::Result<Vec<u8>> {
        fs::read(&self.path)
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    /// Text and comments of a Word document, read back out of the file whenever it has changed.
    pub(crate) fn read_back(&mut self) -> io::Result<(String, Vec<Comment>)> {
        let written = fs::metadata(&self.path)?.modified()?;
        if let Some((when, text, comments)) = &self.read
            && *when == written
        {
            return Ok((text.clone(), comments.clone()));
        }
        let (text, comments) = docx::read(&fs::read(&self.path)?)?;
        self.read = Some((written, text.clone(), comments.clone()));
        Ok((text, comments))
    }
}

fn same_document(ours: &str, theirs: &str) -> bool {
    if ours == theirs {
        return true;
    }
    let id = |url: &str| {
        let url = url::Url::parse(url).ok()?;
        let document =
            url.query_pairs().find(|(name, _)| name == "sourcedoc").map(|(_, value)| value.to_lowercase());
        Some((url.path().to_owned(), document))
    };
    matches!((id(ours), id(theirs)), (Some(ours), Some(theirs)) if ours == theirs)
}

/// A drive id in SharePoint's form, one per user.
fn drive_of(user: &str) -> String {
    use base64::Engine as _;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, user.as_bytes());
    format!("b!{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest))
}

/// An item id in SharePoint's form: `01` and 32 base-32 characters.
fn item_id(guid: Uuid) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, guid.as_bytes());
    let letters = digest.as_ref().iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    format!("01{}", letters.collect::<String>())
}
