//! Which part of the study is done, with which models and where: the flags of the command line and the profile that they choose.
//! Independent of what is already there.

use super::{
    declared::{Also, Exhibit, Keeps, Profile, Run, Seeds, Study},
    words::Words,
};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use std::{collections::BTreeSet, path::PathBuf};

/// Benchmarks that are read from files.
const FROM_FILES: [&str; 2] = ["gsm8k", "svamp"];
/// Where ablations are left out.
const WITHOUT_ABLATIONS: &str = "svamp";

/// Which part of the study, with which models and where.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Study")]
pub struct SetupArgs {
    /// smoke: checks that everything works, on sixteen problems, in a few minutes. cpu: two sizes, of eight seeds and of four,
    /// a day on two cores; with --init-small adapters for a small pretrained model, a few hours of one core.
    /// gpu: the paper's own settings, for published models
    #[arg(long, value_name = "smoke|cpu|gpu", default_value = "cpu")]
    pub profile: String,
    /// Problems: a built-in benchmark (gsm8k and svamp are read from --data-dir), or a description FILE.toml of your own
    #[arg(long, value_name = "NAME", default_value = "synthetic")]
    pub benchmark: String,
    /// The folder with the published files of a benchmark; else RL_DATA_DIR
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// The folder of the study; default runs/reproduce-PROFILE-BENCHMARK, followed by the name of --init-small
    #[arg(long, value_name = "DIR")]
    pub out: Option<String>,
    /// Seeds 0 to N - 1; default 8 of pico and 4 of tiny with the profile cpu, 4 with gpu, 1 with smoke and with --init-small.
    /// Verdicts on claims begin with four
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: Option<u64>,
    /// Only this seed
    #[arg(long, value_name = "S", conflicts_with = "seeds")]
    pub seed: Option<u64>,
    /// Runs, tables and figures by name, with commas between; what these need is run as well
    #[arg(long, value_name = "NAME,…", default_value = "", hide_default_value = true)]
    pub only: String,
    /// Only the smaller of two models
    #[arg(long, conflicts_with = "large_only")]
    pub small_only: bool,
    /// Only the larger of two models
    #[arg(long)]
    pub large_only: bool,
    /// A published model instead of the base model, as for --init of `rl`
    #[arg(long, value_name = "PATH")]
    pub init_small: Option<String>,
    /// A larger one
    #[arg(long, value_name = "PATH", requires = "init_small")]
    pub init_large: Option<String>,
    /// The folder with the programs `rl` and `eval`; default the one of this program
    #[arg(long, value_name = "DIR", env = "BIN")]
    pub programs: Option<PathBuf>,
    /// The root of the repository, for the times and fixtures that are kept there
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub repository: String,
    /// Flags for every command, for example --threads 1
    #[arg(last = true, value_name = "FLAG")]
    pub flags: Vec<String>,
}

/// A part of the study that can be done: names and flags are resolved.
#[derive(Debug)]
pub struct Setup {
    /// What is declared.
    pub study: &'static Study,
    /// As the user calls it.
    pub profile: String,
    /// The one whose budgets hold.
    budget: String,
    /// Which problems.
    pub benchmark: String,
    /// Flags that say so.
    pub benchmark_flags: Vec<String>,
    /// The folder of the study.
    pub out: String,
    /// Runs and exhibits by name; all of them where this is empty.
    only: BTreeSet<String>,
    /// One size and seed each, in the order in which they are done.
    pub folders: Vec<Folder>,
    /// Whether the smaller size is among them.
    has_smaller: bool,
    /// The folder with `rl` and `eval`.
    pub programs: PathBuf,
    /// The root of the repository.
    pub repository: String,
    /// Flags for every command.
    pub flags: Vec<String>,
    /// Settings of the profile.
    words: Words,
    /// Whether a model is trained first that stands for a pretrained one.
    pub has_stand_in: bool,
}

/// One size and one seed.
#[derive(Clone, Debug)]
pub struct Folder {
    /// What the size is called.
    pub size: String,
    /// The seed of all runs.
    pub seed: u64,
    /// The model that takes the place of the base model.
    pub init: Option<String>,
    /// Its path.
    pub dir: String,
    /// Whether it has the smaller of the sizes.
    pub is_smaller: bool,
}

impl Folder {
    /// The base model.
    pub fn base(&self, study: &Study) -> String {
        self.init.clone().unwrap_or_else(|| self.run(&study.reference.base))
    }

    /// The directory of a run.
    pub fn run(&self, name: &str) -> String {
        format!("{}/{name}", self.dir)
    }

    /// Where the result of a run is kept.
    pub fn result(&self, name: &str) -> String {
        format!("{}/results/{name}.json", self.dir)
    }
}

impl Setup {
    /// What flags ask for.
    ///
    /// # Errors
    /// Flags that contradict each other or the profile, a name that is not part of it.
    pub fn new(study: &'static Study, args: &SetupArgs) -> Result<Self> {
        let given = format!("{}-given", args.profile);
        let budget =
            if args.init_small.is_some() && study.profiles.contains_key(&given) { &given } else { &args.profile };
        let profile = study.profiles.get(budget).filter(|_| !args.profile.ends_with("-given"));
        let profile = profile.with_context(|| format!("no profile {}: smoke, cpu or gpu", args.profile))?;
        if profile.needs_init && args.init_small.is_none() {
            bail!("the profile {} is for published models: give --init-small", args.profile);
        }
        let benchmark = &args.benchmark;
        let has_data = args.data_dir.is_some() || std::env::var_os("RL_DATA_DIR").is_some_and(|dir| !dir.is_empty());
        ensure!(has_data || !FROM_FILES.contains(&benchmark.as_str()), "--benchmark {benchmark} needs --data-dir");
        let out = args.out.clone().unwrap_or_else(|| default_out(args));
        let data_dir = args.data_dir.iter().flat_map(|dir| ["--data-dir", dir]);
        let benchmark_flags: Vec<String> =
            ["--benchmark", benchmark].into_iter().chain(data_dir).map(Into::into).collect();
        let has_stand_in = args.init_small.is_none() && !profile.stand_in.is_empty();
        let only = args.only.split(',').map(|name| name.replace(' ', "")).filter(|name| !name.is_empty());
        let folders = folders(study, profile, args, &out)?;
        let setup = Self {
            study,
            profile: args.profile.clone(),
            budget: budget.clone(),
            words: words(study, profile, benchmark, &benchmark_flags, &out),
            benchmark: benchmark.clone(),
            benchmark_flags,
            only: only.collect(),
            has_smaller: folders.iter().any(|folder| folder.is_smaller),
            folders,
            programs: args.programs.clone().map_or_else(beside_this_program, Ok)?,
            repository: args.repository.clone(),
            flags: args.flags.clone(),
            has_stand_in,
            out,
        };
        setup.check_names()?;
        Ok(setup)
    }

    /// Its profile as declared.
    pub fn profile(&self) -> &'static Profile {
        &self.study.profiles[&self.budget]
    }

    /// The requested runs that leave a result, in the order in which they are done.
    pub fn items(&self) -> Vec<(&Folder, &'static Run)> {
        let of_folder = |folder| self.runs(folder).filter(|run| self.is_wanted(run)).map(move |run| (folder, run));
        self.folders.iter().flat_map(of_folder).collect()
    }

    /// The requested tables, figures and claims.
    pub fn exhibits(&self) -> impl Iterator<Item = &'static Exhibit> {
        self.made().filter(|exhibit| self.is_requested(&exhibit.name))
    }

    /// The exhibit of another benchmark, where it is requested.
    pub fn also(&self) -> Option<&'static Also> {
        self.profile().also.as_ref().filter(|also| also.from == self.benchmark && self.is_requested(&also.exhibit))
    }

    /// The same part of the study for an exhibit of another benchmark.
    ///
    /// # Errors
    /// As of [`Setup::new`].
    pub fn with_benchmark_of(&self, also: &Also) -> Result<Self> {
        let args = SetupArgs {
            profile: self.profile.clone(),
            benchmark: also.benchmark.clone(),
            data_dir: Some(format!("{}/{}", self.repository, also.data_dir)),
            out: Some(format!("{}-{}", self.out, also.benchmark)),
            seeds: None,
            seed: None,
            only: also.exhibit.clone(),
            small_only: false,
            large_only: false,
            init_small: None,
            init_large: None,
            programs: Some(self.programs.clone()),
            repository: self.repository.clone(),
            flags: self.flags.clone(),
        };
        Self::new(self.study, &args)
    }

    /// The words of a line of flags.
    ///
    /// # Errors
    /// A name in braces that stands for nothing.
    pub fn expand(&self, line: &str) -> Result<Vec<String>> {
        self.words.expand(line)
    }

    /// The same with the paths of a folder.
    ///
    /// # Errors
    /// A name in braces that stands for nothing.
    pub fn expand_in(&self, folder: &Folder, line: &str) -> Result<Vec<String>> {
        let mut words = self.words.clone();
        let paths = [("dir", folder.dir.clone()), ("base", folder.base(self.study))];
        words.values.extend(paths.map(|(name, path)| (name.into(), vec![path])));
        words.expand(line)
    }

    fn runs(&self, folder: &Folder) -> impl Iterator<Item = &'static Run> {
        let with_ablations = folder.is_smaller && self.benchmark != WITHOUT_ABLATIONS;
        let of_profile = |run: &&Run| run.profiles.as_ref().is_none_or(|profiles| profiles.contains(&self.budget));
        let runs = self.study.runs.iter().filter(|run| run.keeps != Keeps::Nothing).filter(of_profile);
        let has_seed = |run: &&Run| run.seeds.is_none_or(|seeds| folder.seed < seeds);
        runs.filter(has_seed).filter(move |run| with_ablations || !run.ablation)
    }

    /// The exhibits that this part of the study has.
    fn made(&self) -> impl Iterator<Item = &'static Exhibit> {
        let with_ablations = self.has_smaller && self.benchmark != WITHOUT_ABLATIONS;
        let exhibits = self.study.exhibits.iter().filter(|exhibit| exhibit.is_made_of(&self.benchmark));
        exhibits.filter(move |exhibit| with_ablations || !exhibit.ablation)
    }

    fn is_wanted(&self, run: &Run) -> bool {
        let needs_it = |exhibit: &Exhibit| self.study.runs_of(exhibit).contains(run.name.as_str());
        self.is_requested(&run.name) || self.made().any(|exhibit| self.is_requested(&exhibit.name) && needs_it(exhibit))
    }

    fn is_requested(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.contains(name)
    }

    /// Refuses names of what this part of the study does not have.
    fn check_names(&self) -> Result<()> {
        let also = self.profile().also.iter().map(|also| also.exhibit.as_str());
        let runs = self.folders.iter().flat_map(|folder| self.runs(folder)).map(|run| run.name.as_str());
        let known: BTreeSet<&str> = runs.chain(self.made().map(|exhibit| exhibit.name.as_str())).chain(also).collect();
        match self.only.iter().find(|name| !known.contains(name.as_str())) {
            Some(name) => bail!("--only {name} names no run, table or figure of what is made here"),
            None => Ok(()),
        }
    }
}

/// Results of other models are other results.
fn default_out(SetupArgs { profile, benchmark, init_small, .. }: &SetupArgs) -> String {
    let name = |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_string();
    let model = init_small.as_deref().map(|path| format!("-{}", name(path))).unwrap_or_default();
    // A description is named after its file.
    let benchmark = name(benchmark.strip_suffix(".toml").unwrap_or(benchmark));
    format!("runs/reproduce-{profile}-{benchmark}{model}")
}

fn beside_this_program() -> Result<PathBuf> {
    let program = std::env::current_exe().context("where this program lies is not known")?;
    Ok(program.parent().map(Into::into).unwrap_or_default())
}

fn folders(study: &Study, profile: &Profile, args: &SetupArgs, out: &str) -> Result<Vec<Folder>> {
    let inits = [&args.init_small, &args.init_large];
    let of_study = &study.settings;
    let names = |own: &Option<Vec<String>>, of_all: &Option<Vec<String>>| {
        own.clone().or_else(|| of_all.clone()).context("the study names no sizes")
    };
    let mut sizes = match args.init_small {
        Some(_) => names(&profile.given_sizes, &of_study.given_sizes)?,
        None => names(&profile.sizes, &of_study.sizes)?,
    };
    if args.init_small.is_some() && args.init_large.is_none() {
        sizes.truncate(1);
    }
    ensure!(sizes.len() > 1 || !args.large_only, "--large-only needs --init-large");
    let declared = args.seeds.map(Seeds::All).or_else(|| profile.seeds.clone()).or_else(|| of_study.seeds.clone());
    let declared = declared.unwrap_or(Seeds::All(1));
    let seeds_of = |size: &str| args.seed.map_or_else(|| 0..declared.of(size), |seed| seed..seed + 1);
    let last = sizes.iter().map(|size| seeds_of(size).end).max().unwrap_or(0);
    let stand_in = profile.stand_in.last().map(|stand_in| format!("{out}/{}", stand_in.name));
    let is_wanted = |place: usize| !(args.small_only && place == 1 || args.large_only && place == 0);
    let folder = |seed: u64, (place, size): (usize, &String)| Folder {
        size: size.clone(),
        seed,
        init: inits.get(place).and_then(|init| init.as_ref()).or(stand_in.as_ref().filter(|_| place == 0)).cloned(),
        dir: format!("{out}/{size}-seed{seed}"),
        is_smaller: place == 0,
    };
    let of_seed = |seed: u64| {
        let sizes = sizes.iter().enumerate().filter(move |(_, size)| seeds_of(size).contains(&seed));
        sizes.filter(|(place, _)| is_wanted(*place)).map(move |size| folder(seed, size))
    };
    Ok((0..last).flat_map(of_seed).collect())
}

/// What names in braces stand for, wherever the folder.
fn words(study: &Study, profile: &Profile, benchmark: &str, benchmark_flags: &[String], out: &str) -> Words {
    let on_benchmark = profile.on.get(benchmark).into_iter().flatten();
    let all = study.settings.settings.iter().chain(&profile.settings).chain(on_benchmark);
    let mut words = Words::default();
    words.settings.extend(all.map(|(name, setting)| (name.clone(), setting.to_string())));
    words.values.insert("benchmark".into(), benchmark_flags.to_vec());
    words.values.insert("out".into(), vec![out.into()]);
    words
}
