//! `ftpfs`: parse, run, exit code.

use std::{
    env,
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    process::ExitCode,
};

use ftpfs::{
    cli::{Opts, Stop, Surroundings, Target},
    config::Config,
    doctor, logging,
    mount::{self, Ending},
};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(message) => {
            // When even the standard error output is gone, the exit status has to do.
            let _ = writeln!(io::stderr(), "ftpfs: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, String> {
    let args: Vec<_> = env::args_os().collect();
    let parsed = if Opts::is_for_doctor(&args) {
        Opts::parse_for_doctor(args).map(|(opts, is_json)| (opts, Some(is_json)))
    } else {
        Opts::parse_from_args(args).map(|opts| (opts, None))
    };
    let (opts, doctor) = match parsed {
        Ok(parsed) => parsed,
        Err(Stop::Print(text)) => {
            // The reader may have gone, as `head` does.
            let _ = io::stdout().write_all(text.as_bytes());
            return Ok(ExitCode::SUCCESS);
        }
        Err(Stop::Usage(error)) => return Err(error.to_string()),
    };
    let surroundings = Surroundings::current();
    logging::init(&opts.to_log_config(&surroundings))?;
    hide_passwords(&surroundings);
    let config = opts
        .to_config(&surroundings)
        .map_err(|error| error.to_string())?;
    drop((opts, surroundings));
    if let Some(is_json) = doctor {
        return Ok(examine(&config, is_json));
    }
    match mount::run(&config, mount::build) {
        Ok(Ending::Well) => Ok(ExitCode::SUCCESS),
        Ok(Ending::Reported) => Ok(ExitCode::FAILURE),
        Err(error) => Err(error.to_string()),
    }
}

/// Says what the doctor finds; the exit status says whether a mount works.
fn examine(config: &Config, is_json: bool) -> ExitCode {
    let report = doctor::examine(&config.ftp, config.fs.is_read_only);
    let text = if is_json {
        format!("{:#}\n", report.to_json())
    } else {
        report.to_string()
    };
    // The reader may have gone, as `head` does.
    let _ = io::stdout().write_all(text.as_bytes());
    if report.works {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Wipes the passwords from what /proc shows of our arguments and environment.
fn hide_passwords(surroundings: &Surroundings) {
    if let Err(error) = mount::forbid_cores() {
        log::warn!("a crash may leave the password in a core file: {error}");
    }
    if surroundings.password.is_some()
        && let Err(error) = mount::hide_variable("FTPFS_PASSWORD")
    {
        log::warn!("FTPFS_PASSWORD stays visible in /proc/self/environ: {error}");
    }
    for argument in env::args_os() {
        let ranges = Target::password_ranges(argument.as_bytes());
        if ranges.is_empty() {
            continue;
        }
        if let Err(error) = mount::hide_argument(&argument, &ranges) {
            log::warn!("the password in a URL stays visible in the process list: {error}");
        }
    }
}
