//! Paths: whatever names are joined, the path stays one that can stand in a command line, and comes apart again.
#![no_main]

use ftpfs::remote::RemotePath;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut path = RemotePath::root();
    let mut names = Vec::new();
    // 0x01 separates the names, so that `/` itself can be tried in one.
    for name in bytes.split(|byte| *byte == 1) {
        let Ok(longer) = path.join(name) else {
            continue;
        };
        assert_eq!(longer.parent().as_ref(), Some(&path));
        assert_eq!(longer.name(), Some(name));
        assert!(longer.is_within(&path));
        assert!(!path.is_within(&longer));
        names.push(name);
        path = longer;
    }
    assert!(path.components().eq(names.iter().copied()));
    assert!(path.as_bytes().starts_with(b"/"));
    assert!(
        !path
            .as_bytes()
            .iter()
            .any(|byte| matches!(byte, 0 | b'\r' | b'\n'))
    );
});
