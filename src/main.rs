//! `ftpfs`: parse, run, exit code.

use std::{env, os::unix::ffi::OsStrExt, process::ExitCode};

use ftpfs::{
    cli::{DoctorRequest, Request, Stop, Surroundings, Target},
    config::FtpConfig,
    doctor, logging,
    mount::{self, Ending},
    printed,
};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(message) => {
            printed::complain(message);
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, String> {
    let request = match Request::parse(env::args_os()) {
        Ok(request) => request,
        Err(Stop::Print(text)) => {
            printed::print(text);
            return Ok(ExitCode::SUCCESS);
        }
        Err(Stop::Usage(error)) => return Err(error.to_string()),
    };
    let surroundings = Surroundings::current();
    logging::init(&request.opts().to_log_config(&surroundings))?;
    hide_passwords(&surroundings);
    match request {
        Request::Mount(request) => {
            let config = request.to_config(&surroundings);
            let config = config.map_err(|error| error.to_string())?;
            drop((request, surroundings));
            match mount::run(&config) {
                Ok(Ending::Well) => Ok(ExitCode::SUCCESS),
                Ok(Ending::Reported) => Ok(ExitCode::FAILURE),
                Err(error) => Err(error.to_string()),
            }
        }
        Request::Doctor(request) => {
            let config = request.to_config(&surroundings);
            let config = config.map_err(|error| error.to_string())?;
            examine(&config, &request)
        }
    }
}

/// Says what the doctor finds; the exit status says whether a mount works.
fn examine(config: &FtpConfig, request: &DoctorRequest) -> Result<ExitCode, String> {
    let report = doctor::examine(config, request.is_read_only());
    if request.is_json() {
        let json = report.to_json().map_err(|error| error.to_string())?;
        printed::print(format_args!("{json:#}\n"));
    } else {
        printed::print(&report);
    }
    Ok(if report.works {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
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
