//! Everyday work under each combination of {MLSD, LIST} x {caches on, off} x {1, 4 connections}.

use crate::{
    common::{Kind, on},
    files, metadata, mmap, names, namespace, programs,
};

/// Makes one module for each combination, with every body in it.
macro_rules! matrix {
    ($($combination:ident: $kind:ident, $options:expr);+ $(;)? => $bodies:tt) => {
        $( mod $combination { matrix!(@bodies $kind, $options, $bodies); } )+
    };
    (@bodies $kind:ident, $options:expr, { $($room:ident::$body:ident),+ $(,)? }) => { $(
        #[test]
        fn $body() { super::on(super::Kind::$kind, $options, super::$room::$body); }
    )+ };
}

matrix! {
    list_cached_one_session: Vsftpd, &["connections=1"];
    list_cached_four_sessions: Vsftpd, &["connections=4"];
    list_uncached_one_session: Vsftpd, &["dir-ttl=0", "cache-size=0", "connections=1"];
    list_uncached_four_sessions: Vsftpd, &["dir-ttl=0", "cache-size=0", "connections=4"];
    mlsd_cached_one_session: Proftpd, &["connections=1"];
    mlsd_cached_four_sessions: Proftpd, &["connections=4"];
    mlsd_uncached_one_session: Proftpd, &["dir-ttl=0", "cache-size=0", "connections=1"];
    mlsd_uncached_four_sessions: Proftpd, &["dir-ttl=0", "cache-size=0", "connections=4"];
    => {
        files::copy_in_and_out,
        files::rewrite,
        files::append,
        files::truncate,
        files::patch_in_place,
        files::read_anywhere,
        metadata::chmod,
        metadata::touch,
        metadata::copy_with_attributes,
        mmap::write_mapped,
        names::as_files,
        namespace::rename_over_a_file,
        programs::copy_trees,
        programs::git,
        programs::remove_trees,
        programs::rsync,
        programs::sed,
        programs::sqlite,
        programs::tar,
        programs::vim,
    }
}
