//! What proptest draws from.

use ftpfs::remote::{
    Phase, RemoteErrorKind as Kind,
    memory::{Operation, RenameOver},
};
use proptest::{prelude::*, sample::select};

use crate::op::{Conditions, Fault, Mode, Op, Scenario, Step, Target};

/// The most steps of one sequence.
const STEPS_MAX: usize = 24;

pub(crate) fn scenario(has_faults: bool) -> impl Strategy<Value = Scenario> {
    let steps = prop::collection::vec(step(has_faults), 1..STEPS_MAX);
    (conditions(), steps).prop_map(|(conditions, steps)| Scenario { conditions, steps })
}

fn conditions() -> impl Strategy<Value = Conditions> {
    let rename_over = prop_oneof![
        2 => Just(RenameOver::Replaces),
        1 => Just(RenameOver::Refuses),
        1 => Just(RenameOver::Lies),
    ];
    let usually = || prop::bool::weighted(0.75);
    let seldom = || prop::bool::weighted(0.2);
    let server = (
        rename_over,
        usually(),
        usually(),
        usually(),
        usually(),
        seldom(),
        seldom(),
        seldom(),
    );
    let caches = (
        select(vec![8u64 << 20, 0, 70_000]),
        select(vec![64usize << 20, 0, 1 << 20]),
        select(vec![20u64, 0, 1_000_000]),
        select(vec![8usize, 1]),
        any::<bool>(),
    );
    (server, caches).prop_map(|(server, caches)| Conditions {
        rename_over: server.0,
        can_append: server.1,
        can_patch: server.2,
        can_set: server.3,
        can_overwrite: server.4,
        has_coarse_times: server.5,
        refuses_dots: server.6,
        is_truncated: server.7,
        spool_memory: caches.0,
        cache_bytes: caches.1,
        dir_ttl: caches.2,
        sessions: caches.3,
        forgets: caches.4,
    })
}

fn step(has_faults: bool) -> impl Strategy<Value = Step> {
    let most = if has_faults { 2 } else { 0 };
    let faults = prop_oneof![
        2 => Just(Vec::new()),
        1 => prop::collection::vec(fault(), 0..=most),
    ];
    (op(), faults).prop_map(|(op, faults)| Step { op, faults })
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        3 => (0usize..8).prop_map(Target::Existing),
        2 => (0usize..8).prop_map(Target::Any),
    ]
}

/// Places near the borders of pages, blocks, the stream's and the patch's least size.
fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![
        12 => select(vec![0u64, 1, 5, 100, 4096]),
        4 => select(vec![65_535u64, 65_536, 70_000, 262_144]),
        1 => select(vec![1_048_575u64, 1_048_576, 1_200_000]),
    ]
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![
        12 => select(vec![0usize, 1, 3, 100, 5000]),
        3 => select(vec![65_536usize, 70_000]),
        1 => select(vec![1_048_576usize, 1_100_000]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let handle = || 0usize..6;
    let mode = select(vec![
        Mode::Read,
        Mode::Write,
        Mode::Truncate,
        Mode::Append,
        Mode::Create,
        Mode::CreateTruncate,
        Mode::Exclusive,
    ]);
    let new = prop_oneof![Just(Mode::Create), Just(Mode::CreateTruncate)];
    prop_oneof![
        8 => (target(), mode).prop_map(|(target, mode)| Op::Open(target, mode)),
        6 => ((0usize..8).prop_map(Target::Any), new).prop_map(|(target, mode)| Op::Open(target, mode)),
        16 => (handle(), offset(), len(), 0u64..100).prop_map(|(h, at, len, seed)| Op::Write(h, at, len, seed)),
        3 => (handle(), offset(), len()).prop_map(|(h, at, len)| Op::Read(h, at, len)),
        3 => handle().prop_map(Op::Fsync),
        2 => handle().prop_map(Op::Flush),
        8 => handle().prop_map(Op::Close),
        3 => (target(), offset()).prop_map(|(target, len)| Op::Truncate(target, len)),
        3 => (handle(), offset()).prop_map(|(h, len)| Op::TruncateHandle(h, len)),
        1 => (handle(), offset(), len()).prop_map(|(h, at, len)| Op::Zero(h, at, len as u64)),
        8 => (target(), target(), prop::bool::weighted(0.2)).prop_map(|(a, b, no)| Op::Rename(a, b, no)),
        5 => target().prop_map(Op::Unlink),
        4 => target().prop_map(Op::Mkdir),
        3 => target().prop_map(Op::Rmdir),
        3 => (target(), select(vec![0o600u32, 0o644, 0o755])).prop_map(|(target, mode)| Op::Chmod(target, mode)),
        3 => (target(), select(vec![0u64, 1_000_000_000, 1_700_000_059])).prop_map(|(target, at)| Op::Utimens(target, at)),
        2 => select(vec![1u64, 10, 21, 120]).prop_map(Op::Advance),
        1 => Just(Op::Retry),
        3 => (target(), len(), 0u64..100).prop_map(|(target, len, seed)| Op::OtherWrites(target, len, seed)),
        2 => target().prop_map(Op::OtherRemoves),
        1 => target().prop_map(Op::OtherMakesDir),
    ]
}

/// Answers after which the same request may succeed; what a server refuses for good is the semantic tests' business, because
/// the bytes are then put aside and the server's file is shown again.
fn fault() -> impl Strategy<Value = Fault> {
    let operation = select(vec![
        Operation::List,
        Operation::Stat,
        Operation::OpenDownload,
        Operation::Read,
        Operation::OpenUpload,
        Operation::Put,
        Operation::WriteAll,
        Operation::Finish,
        Operation::Settle,
        Operation::Rename,
        Operation::RemoveFile,
        Operation::MakeDir,
        Operation::RemoveDir,
    ]);
    let transfer = select(vec![
        Operation::OpenDownload,
        Operation::OpenUpload,
        Operation::Put,
    ]);
    let broken = || {
        select(vec![
            Kind::Disconnected,
            Kind::TimedOut(Phase::Reply),
            Kind::Protocol,
        ])
    };
    let kind = select(vec![
        Kind::Disconnected,
        Kind::Busy,
        Kind::Failed,
        Kind::NoSpace,
        Kind::TimedOut(Phase::Data),
    ]);
    prop_oneof![
        4 => (operation.clone(), 1u64..4, kind).prop_map(|(op, nth, kind)| Fault::Fails(op, nth, kind)),
        4 => (operation, 1u64..4, broken()).prop_map(|(op, nth, kind)| Fault::ReplyLost(op, nth, kind)),
        2 => (transfer, select(vec![0u64, 1, 50, 60_000, 300_000]), broken())
            .prop_map(|(op, bytes, kind)| Fault::BreaksAfter(op, bytes, kind)),
    ]
}
