"""The ports: what the engine needs of the world, and what a handler gets. Their docstrings are the contract.

Adapters conform without inheriting. Third-party exceptions are translated at the adapter into `domain.errors`.
Times are UTC milliseconds since the epoch (`Clock.now`), durations are seconds.
"""

from __future__ import annotations

from taskengine.ports.base import Checked, Clock, Evaluator, ParameterSchema, Sealer
from taskengine.ports.broker import Address, Broker, Consumer, Delivery, Message, Outgoing
from taskengine.ports.callbacks import (
    NONE_BUSY,
    Busy,
    CallbackSender,
    CallbackStore,
    DueCallback,
    SemaphoreProbe,
    SendResult,
    Settlement,
)
from taskengine.ports.clients import ApiKey, Client, ClientStore
from taskengine.ports.handlers import Handler, TaskContext, TaskLog, Tools, Workspace
from taskengine.ports.jobs import (
    Advanced,
    Candidates,
    Decide,
    Dispatched,
    DispatchPlan,
    Health,
    JobFilter,
    JobStore,
    Known,
    NewJob,
    StoredTask,
)
from taskengine.ports.observing import Meter, Span, Tracer
from taskengine.ports.outbound import ByteRange, Document, Downloaded, KeyProvider, Outbound
from taskengine.ports.processes import ProcessResult, ProcessRunner
from taskengine.ports.storage import Storage, StoredFile, Told
from taskengine.ports.store import EventStore, Recurring, RecurringStore, Store
from taskengine.ports.workflows import LoadedWorkflow, WorkflowCatalog

__all__ = [
    "NONE_BUSY",
    "Address",
    "Advanced",
    "ApiKey",
    "Broker",
    "Busy",
    "ByteRange",
    "CallbackSender",
    "CallbackStore",
    "Candidates",
    "Checked",
    "Client",
    "ClientStore",
    "Clock",
    "Consumer",
    "Decide",
    "Delivery",
    "DispatchPlan",
    "Dispatched",
    "Document",
    "Downloaded",
    "DueCallback",
    "Evaluator",
    "EventStore",
    "Handler",
    "Health",
    "JobFilter",
    "JobStore",
    "KeyProvider",
    "Known",
    "LoadedWorkflow",
    "Message",
    "Meter",
    "NewJob",
    "Outbound",
    "Outgoing",
    "ParameterSchema",
    "ProcessResult",
    "ProcessRunner",
    "Recurring",
    "RecurringStore",
    "Sealer",
    "SemaphoreProbe",
    "SendResult",
    "Settlement",
    "Span",
    "Storage",
    "Store",
    "StoredFile",
    "StoredTask",
    "TaskContext",
    "TaskLog",
    "Told",
    "Tools",
    "Tracer",
    "WorkflowCatalog",
    "Workspace",
]
