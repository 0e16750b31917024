//! What a run finds on disk when it is resumed.

use portolan_pipeline::Checkpoint;

/// A whole checkpoint file, and the same bytes as the content behind a head line that fits.
pub(crate) fn checkpoint(data: &[u8]) {
    if let Err(why) = Checkpoint::parse(data) {
        super::assert_printable(&why);
    }
    if let Ok(read) = Checkpoint::parse_content(data) {
        if let Err(why) = read.validate() {
            super::assert_printable(&why);
        }
        let written = read.content().ok();
        let read_back = written
            .as_deref()
            .and_then(|it| Checkpoint::parse_content(it).ok());
        let again = read_back.and_then(|it| it.content().ok());
        assert!(written.is_some(), "what was read can be written");
        assert_eq!(written, again, "reading back changes nothing");
    }
}
