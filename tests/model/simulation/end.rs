//! The end of a sequence: everything closed, tried again and drained; what is right is there, and nothing else.

use std::time::Duration;

use super::{Simulation, Verdict};
use crate::{
    files::{File, differs},
    known,
    ledger::{files, is_hidden, short},
    sequence::{FILES, NAMES},
};

impl Simulation {
    /// Everything closed, tried again and drained: what is right is there, and nothing else.
    pub(super) fn finish(&mut self) -> Verdict {
        self.trouble.stop();
        self.ledger().begin_step();
        self.world.server.wake();
        self.world
            .server
            .set_behaviour(|behaviour| behaviour.room = None);
        self.world
            .advance(Duration::from_secs(self.server.dir_ttl + 130));
        while let Some(handle) = self.handles.first().copied() {
            let done = self.close(handle)?;
            self.look()?;
            self.ledger().begin_step();
            self.note(|| {
                let (program, number) = (handle.program, handle.number);
                format!("in the end program {program} closes {number:?}: {done:?}")
            });
        }
        for _ in 0..4 {
            self.world.advance(Duration::from_secs(130));
            self.world.fs.retry();
            // Threads of the mount before may have had the last ones in hand until now.
            self.world.fs.adopt_debts();
            self.world.fs.pay_debts();
        }
        let is_all_sent = self.world.fs.drain(Duration::ZERO);
        let kept = self.world.fs.keep_unsent();
        self.note(|| format!("drained: {is_all_sent}, kept: {kept:?}"));
        self.await_cleanup()?;
        self.look()?;
        let missing = self.ledger().missing(&self.world.server);
        missing.map_or(Ok(()), Err)?;
        self.check_owed()?;
        self.check_view()
    }

    /// What hidden files are left, once the threads that remove them are done.
    pub(super) fn await_cleanup(&self) -> Verdict {
        let is_clean = || {
            let left = files(&self.world.server).filter(|(at, _)| is_hidden(at));
            let mut left = left.filter(|(_, content)| {
                let ledger = self.ledger();
                !ledger.is_kept(content) && !known::is_left_under_a_hidden_name(&ledger, content)
            });
            left.next().is_none()
        };
        if !self.server.may_remove || self.trouble.has_refused_removals() {
            return Ok(());
        }
        for round in 0..400 {
            if is_clean() {
                return Ok(());
            }
            if round % 20 == 19 {
                self.world.advance(Duration::from_mins(2));
                self.world.fs.adopt_debts();
                self.world.fs.pay_debts();
            }
            std::thread::sleep(Duration::from_micros(200 + 50 * round));
        }
        Err(format!(
            "hidden files are left: {:?} of {:?}",
            self.world.leftovers(),
            self.trouble.removals()
        ))
    }

    /// What programs have written and the server does not have lies here.
    pub(super) fn check_owed(&self) -> Verdict {
        let mut all = self.all_there();
        let ledger = self.ledger();
        all.extend(ledger.ended().map(|content| content.to_vec()));
        drop(ledger);
        let unsent = self.files.all.iter().filter_map(File::owed);
        let owed = self
            .owed
            .iter()
            .map(|(content, file)| (content.clone(), file));
        for (content, file) in owed.chain(unsent) {
            if !all.iter().any(|there| self.is_in(file, &content, there)) {
                let all: Vec<String> = all.iter().map(|there| short(there)).collect();
                return Err(format!(
                    "{} of {:?} is neither on the server nor kept here: {all:?}",
                    short(&content),
                    file.paths
                ));
            }
        }
        Ok(())
    }

    /// When all has expired, programs see what the server has.
    pub(super) fn check_view(&mut self) -> Verdict {
        self.world
            .advance(Duration::from_secs(self.server.dir_ttl + 130));
        let is_all_sent = self.world.fs.progress().files_left == 0;
        if !is_all_sent {
            return Ok(());
        }
        for dir in std::iter::once("").chain(NAMES[FILES..].iter().copied()) {
            if !dir.is_empty() && !self.world.is_dir_on_server(dir) {
                continue;
            }
            let names = self.list(dir);
            let there = self
                .world
                .server
                .tree()
                .into_keys()
                .map(|at| at.to_string());
            let prefix = format!("{dir}/");
            let mut expected: Vec<String> = there
                .filter_map(|at| Some(at.strip_prefix(&prefix)?.to_owned()))
                .filter(|name| !name.contains('/') && !is_hidden(name))
                .collect();
            let mut names = names.map_err(|errno| format!("{dir}/ cannot be listed: {errno}"))?;
            names.retain(|name| !is_hidden(name));
            names.sort();
            expected.sort();
            if names != expected {
                return Err(format!("{dir}/ lists {names:?} and not {expected:?}"));
            }
        }
        for (at, content) in files(&self.world.server) {
            if is_hidden(&at) || at == "/l" {
                continue;
            }
            let read = self.world.cat(&at);
            let read = read.map_err(|errno| format!("{at} cannot be read: {errno}"))?;
            if let Some(place) = differs(&read, &content)
                && !self.ledger().is_twin(&content)
            {
                return Err(format!(
                    "{at} reads as {} and is {}, first different at {place}",
                    short(&read),
                    short(&content)
                ));
            }
        }
        Ok(())
    }
}
