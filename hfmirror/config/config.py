"""Which values are there to configure, of which types, and what are they when nobody says?

The keys of ``config.yaml``'s section ``huggingface:`` and those of the file that it names in ``config_file`` are one tree::

    huggingface:
      repository:
        model_name: me/mcp-finetuned-model
      remotes: [local]
      versioning:
        auto_increment: minor     # major, minor or patch, when a push names no version
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Item = Literal['model', 'config', 'results']
Level = Literal['major', 'minor', 'patch']


class Section(BaseModel):
    """A mapping of known keys."""

    model_config = ConfigDict(extra='forbid', frozen=True, strict=False)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


# one word stands for a list of it
Words = Annotated[list[str], BeforeValidator(_listed, json_schema_input_type=str | list[str])]


class Repository(Section):
    model_name: str | None = None  # namespace/name of the model's repository
    # of the model's repository, when a push creates it; None: settings.default_private
    private: bool | None = None
    auto_create: bool | None = None  # whether a push may create it; None: settings.auto_create_repos
    # the model's repository where model_name has no namespace
    model_repo_template: str = '{username}/{model_name}'
    config_repo_template: str = '{username}/{model_name}-configs'  # where configurations and results go


class Formats(Section):
    # of timestamps: 'v{year}{month:02d}{day:02d}-{hour:02d}{minute:02d}{second:02d}'
    timestamp: str | None = None
    semantic: str | None = None  # of semantic versions: 'v{major}.{minor}.{patch}'


class Versioning(Section):
    # a push without a version option makes a version; None: settings.auto_versioning
    auto_tag: bool | None = None
    # 'v{timestamp}' or 'v{major}.{minor}.{patch}'; None: by semantic_versioning
    tag_format: str | None = None
    semantic_versioning: bool = True  # without a tag_format: semantic versions, else timestamps
    auto_increment: Level = 'minor'  # what the next semantic version counts up
    tag_prefix: str = 'v'  # before the numbers of a version, where no format says it
    formats: Formats = Formats()


class ExperimentTracking(Section):
    enabled: bool = True  # whether a sync writes the experiment's metadata
    include_metrics: bool = True  # whether the metrics of the run are in it
    # what is in it of the run, in this order
    fields: list[str] = [
        'model_name',
        'base_model',
        'training_params',
        'eval_results',
        'timestamp',
        'git_commit',
    ]
    metadata_file: str = 'experiment_metadata.json'  # the name of the file that it is written to


class User(Section):
    username: str | None = None  # the namespace for names without one, and who commits
    email: str | None = None  # of commits, and where notifications go


class Upload(Section):
    # bytes of a file read and hashed at a time
    chunk_size: int = Field(default=1024 * 1024, ge=4096, le=1024**3)
    # how often a failed transfer is tried again
    max_retries: int = Field(default=3, ge=0, le=100)
    # seconds before the first retry, doubled for each next
    retry_delay: float = Field(default=2.0, ge=0, le=3600)


class Download(Section):
    cache_dir: str | None = None  # huggingface_hub's cache for this project; None: its own
    resume_download: bool = True  # go on where an interrupted download ended


class Settings(Section):
    auto_create_repos: bool = True  # a push creates the repository where there is none
    default_private: bool | None = None  # of repositories that are created; None: as the account has it
    auto_versioning: bool = True  # a push without a version option makes a version
    # of {item_type}, {experiment_name}, {version}; None: generated
    commit_message_template: str | None = None
    default_branch: str = 'main'  # the branch that is pushed to and pulled from
    upload: Upload = Upload()
    download: Download = Download()


class Sync(Section):
    include_git_info: bool = True  # the commit of the training code, in commits and metadata
    include_system_info: bool = True  # Python, packages and GPU, in the metadata
    include_hostname: bool = False  # the machine's name too
    backup_before_upload: bool = False  # as backup.enabled


class Author(Section):
    name: str  # as people write it
    email: str | None = None  # to be shown in the card


class Dataset(Section):
    name: str  # a name on the Hub, or any words
    description: str | None = None  # what is in it


class ModelCard(Section):
    language: Words = []  # codes of ISO 639: en, zh
    license: str | None = None  # as the Hub names it: mit, apache-2.0
    tags: Words = []  # besides those that hfmirror finds
    authors: list[Author] = []  # who made it, each with name and email
    datasets: list[Dataset] = []  # what it was trained on, each with name and description
    sections: dict[str, str] = {}  # {heading: Markdown} to add to the card


class Backup(Section):
    enabled: bool = False  # keep a copy of what is released before it is sent
    local_backup_dir: str = './backups'  # where to, relative to the project file
    keep_backups: int = Field(default=5, ge=1, le=10_000)  # how many stay, the newest ones


class Notifications(Section):
    enabled: bool = False  # tell somebody what came of a push
    webhook_url: str | None = None  # gets JSON when a release is proven, queued or has failed
    email_notifications: bool = False  # by email_url, to user.email
    # a mail server as apprise writes it: 'mailtos://user:${PASSWORD}@smtp.example.org'
    email_url: str | None = None
    timeout: float = Field(default=10.0, gt=0, le=300)  # seconds; what takes longer is given up


class Gates(Section):
    allow_secrets: list[str] = []  # globs of files in which what looks like a secret is none
    allow_unsafe: list[str] = []  # globs of files whose pickles may do anything


class Hooks(Section):
    # What 'hooks install' without --on installs hooks for; empty: commit.
    on: list[Literal['commit', 'tag', 'push']] = []
    folder: str | None = None  # what a git hook releases (None: outputs), and a sync without a folder
    background: bool = True  # whether a git hook lets git go on while it releases


class Layout(Section):
    path_in_repo: str = ''  # a folder of the repository
    include: list[str] = []  # globs: only these files
    exclude: list[str] = []  # globs: not these files
    keep: bool = False  # leave files in the repository that the folder does not have


class Config(Section):
    """All there is to configure, every value typed and defaulted."""

    enabled: bool = True  # off: nothing is released unless somebody asks for it by hand
    config_file: str | None = None  # a file with more of these keys, relative to the one that names it
    auto_sync: bool = False  # release after training, without being asked
    upload_items: list[Item] = ['model', 'config', 'results']  # what a sync uploads
    remotes: list[str] = []  # hub, local, or git URLs
    repository: Repository = Repository()
    versioning: Versioning = Versioning()
    experiment_tracking: ExperimentTracking = ExperimentTracking()
    user: User = User()
    settings: Settings = Settings()
    sync: Sync = Sync()
    model_card: ModelCard = ModelCard()
    backup: Backup = Backup()
    notifications: Notifications = Notifications()
    gates: Gates = Gates()
    hooks: Hooks = Hooks()
    layout: Layout = Layout()

    @property
    def creates(self) -> bool:
        """Whether a push may create the repository."""
        own = self.repository.auto_create
        return self.settings.auto_create_repos if own is None else own

    @property
    def creates_by(self) -> str:
        """The key that says whether a push may create the repository."""
        own = self.repository.auto_create
        return 'settings.auto_create_repos' if own is None else 'repository.auto_create'

    @property
    def private(self) -> bool | None:
        """Whether the model's repository is created private; None: as the account has it."""
        own = self.repository.private
        return self.settings.default_private if own is None else own

    @property
    def names_releases(self) -> bool:
        """Whether a push that names no version makes one."""
        own = self.versioning.auto_tag
        return self.settings.auto_versioning if own is None else own

    @property
    def backs_up(self) -> bool:
        """Whether what is released is backed up before."""
        return self.backup.enabled or self.sync.backup_before_upload
