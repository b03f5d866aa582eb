using Microsoft.Extensions.Logging;
using OrleansCluster.Api;
using OrleansCluster.ControlPlane.Operations;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Objects;

/// <summary>
/// One API object: its single writer. The data path of a write, whose step numbers the code names:
/// <code>
///  client ── (1) HTTP: authenticate, authorize, name ──► (2) this grain, one write at a time
///              (3) load the last committed state (once per activation, or after a conflict)
///              (4) decode the body by the kind's schema; a patch is applied to (3)
///              (5) prepare: template and strategy set what no client may choose
///              (6) admission: defaults that need the cluster, claims, refusals
///              (7) finish: validate; nothing changed → answer (3)
///              (8) commit: one atomic step of the store, with the expected revision, claims, fence and queue change
///  client ◄── (9) answer with the new revision; the change log carries the change to every cache, watcher and controller
/// </code>
/// Orleans' single activation is not relied on for safety: if a duplicate activation or a call of unknown outcome committed first, step (8)
/// finds another revision, and the grain decides again from step (3). A repetition of a call of unknown outcome is answered from memory, recognised by
/// what it wrote, or refused with 504: nothing is done twice (<see cref="RepeatedWrite"/>).
/// Reads interleave with a commit under way and return the last committed state: fields change only after the commit.
/// </summary>
[CollectionAgeLimit(Minutes = 1)]
public sealed partial class ObjectGrain(ObjectGrainServices services, ILogger<ObjectGrain> logger) : Grain, IObjectGrain
{
    /// <summary>Decisions of one write: a conflict needs a second, a claim in use (a cluster IP) may need a few more.</summary>
    private const int MaxDecisions = 16;

    /// <summary>Looks after a commit of unknown outcome, with the pauses below about 350 ms in sum: others who write this object wait meanwhile.</summary>
    private const int MaxLooks = 3;

    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(50);

    /// <summary>
    /// After this a conflict is not decided about again: the caller has given this call up (response time-out 5 s) and repeats it elsewhere, and what a silo
    /// that was paused does after that would be done twice.
    /// </summary>
    private static readonly TimeSpan MaxDecisionTime = TimeSpan.FromSeconds(4);

    private const string FenceMoved = "FenceMoved";

    private ObjectKey _key;
    private ResourceDefinition? _definition;
    private StoredObject? _current;
    private bool _loaded;
    private int _doubts;
    private long _epoch;
    private AnsweredRequests _answered;
    private string? _traceParent;

    /// <inheritdoc/>
    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        _key = ObjectKey.Parse(this.GetPrimaryKeyString());
        _definition = services.Registry.Find(_key.Resource);
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public async Task<ObjectReply> GetAsync(CancellationToken cancellationToken)
    {
        if (_definition is null)
            return Fail(StatusError.NoSuchPath());
        try
        {
            await LoadAsync(cancellationToken);
        }
        catch (StoreUnavailableException error)
        {
            return Fail(StoreAway(error));
        }
        return _current is null ? Fail(NotFound()) : Succeed(200, _current, []);
    }

    /// <inheritdoc/>
    public Task<string?> GetTraceParentAsync(CancellationToken cancellationToken) => Task.FromResult(_traceParent);

    /// <inheritdoc/>
    public async Task<ObjectReply> ExecuteAsync(ObjectRequest request, CancellationToken cancellationToken)
    {
        if (_definition is null)
            return Fail(StatusError.NoSuchPath());
        if (services.HasJustResumed())
            return Fail(StatusError.ServiceUnavailable("the silo was paused")) with { NotTried = true };
        if (request.Repeated)
        {
            if (_answered.Find(request.RequestId) is { } known)
                return known;
            Doubt(); // What another activation has written since is not known here.
        }
        var reply = await WriteAsync(request, cancellationToken);
        if (request.Repeated && !request.DryRun && reply.GetError() is { Reason: "NotFound" or "AlreadyExists" })
            reply = Fail(RepeatedWrite.Unclear(_key)); // The first call may yet arrive, and find what it needs.
        // A reply that leaves it open is no answer to a repetition.
        if (reply.Code < 500 && !request.DryRun)
            _answered.Add(request.RequestId, reply);
        return reply;
    }

    private async Task<ObjectReply> WriteAsync(ObjectRequest request, CancellationToken cancellationToken)
    {
        var started = services.Time.GetTimestamp();
        try
        {
            Tried? tried = null;
            var committed = false;
            for (int decision = 0, looks = 0; decision < MaxDecisions; decision++)
            {
                try
                {
                    var remembered = _loaded;
                    await LoadAsync(cancellationToken); // (3)
                    if (tried is not null && WasCommitted(tried))
                        return Succeed(tried.Code, _current ?? tried.Removed!, tried.Warnings, request.Subresource) with { Removed = _current is null };
                    if (decision > 0 && services.Time.GetElapsedTime(started) > MaxDecisionTime)
                        return Fail(StatusError.Timeout("the object changed for too long while the request was decided; it was not carried out"));
                    if (request.Repeated && await RepeatedWrite.JudgeAsync(request, _definition!, _key, _current, services, cancellationToken) is { } verdict)
                        return verdict.Error is { } unclear ? Fail(unclear) : Succeed(verdict.Code, verdict.Object!, [], request.Subresource);
                    if (await TryExecuteAsync(request, decision, Note, cancellationToken) is not { } reply)
                        continue;
                    // A refusal, or that nothing changes, no commit has checked: what was remembered may be another activation's past.
                    if (committed || !remembered || !await HasMovedOnAsync(cancellationToken))
                        return reply;
                }
                catch (StoreUnavailableException) when (looks < MaxLooks)
                {
                    Doubt();
                    await Task.Delay(FirstPause * (1 << looks++), services.Time, cancellationToken);
                }
            }
            return Fail(StatusError.Modified(_definition!.Plural, _definition.Group, _key.Name));

            void Note(Tried? commit)
            {
                tried = commit;
                committed |= commit is not null;
            }
        }
        catch (StatusException refused)
        {
            return Fail(refused.Status);
        }
        catch (StoreUnavailableException error)
        {
            Doubt();
            return Fail(StoreAway(error));
        }
        catch (Exception)
        {
            // Cancelled, mostly. The commit may have gone through; the next call looks.
            Doubt();
            throw;
        }
        finally
        {
            if (_current is null)
                DeactivateOnIdle(); // Names that do not exist must not fill the memory.
        }
    }

    /// <summary>One decision; null asks for another one on fresh state.</summary>
    private async ValueTask<ObjectReply?> TryExecuteAsync(ObjectRequest request, int decision, Action<Tried?> note, CancellationToken cancellationToken)
    {
        var definition = _definition!;
        var current = _current;
        if (request.Verb == ObjectVerb.Create && current is not null)
        {
            var stored = CanonicalJson.Parse(current.Value);
            return (string?)stored["metadata"]?["uid"] == request.NewUid.ToString()
                ? Succeed(201, current, []) // Our own create, whose first answer was lost.
                : Fail(StatusError.AlreadyExists(definition.Plural, definition.Group, _key.Name));
        }
        if (current is null && request.Verb != ObjectVerb.Create)
            return Fail(NotFound());

        var write = new ObjectWrite(definition, _key, request, current, decision, services);
        var result = await write.DecideAsync(cancellationToken); // (4) to (7)
        switch (result.Outcome)
        {
            case PipelineOutcome.Error:
                return Fail(result.Error!, write.Warnings);
            case PipelineOutcome.Unchanged:
                return Succeed(200, current!, write.Warnings, request.Subresource);
        }

        var removal = result.Outcome == PipelineOutcome.Remove;
        var value = CanonicalJson.Serialize(result.Object!);
        var created = request.Verb == ObjectVerb.Create;
        if (request.DryRun)
            return DryRun(created ? 201 : 200, value, current, removal, write.Warnings, request.Subresource);

        var commit = new Commit
        {
            Resource = definition.Resource,
            Key = _key.StorageKey,
            Kind = removal ? CommitKind.Delete : CommitKind.Put,
            Value = value,
            ExpectedRevision = current?.Revision ?? 0,
            Claims = removal ? null : write.Claims,
            Fence = write.Fence,
            Queue = services.Effects.Queue(definition.Resource, removal ? null : result.Object, write.Old),
        };
        // Before the commit: who is woken by it may ask at once.
        if (created)
            _traceParent = ControlPlaneTelemetry.CurrentTrace;
        note(new Tried(commit, created ? 201 : 200, write.Warnings, removal ? current! with { Value = value } : null));
        var committed = await services.Store.CommitAsync(commit, cancellationToken); // (8)
        note(null);
        switch (committed.Outcome)
        {
            case CommitOutcome.Committed:
                var next = new StoredObject(commit.Key, committed.Revision, value);
                _current = removal ? null : next;
                return Succeed(created ? 201 : 200, next, write.Warnings, request.Subresource) with { Removed = removal }; // (9)
            case CommitOutcome.RevisionConflict:
                Log.Conflict(logger, _key, commit.ExpectedRevision, committed.Revision);
                Doubt();
                return null;
            case CommitOutcome.ClaimConflict:
                return write.ClaimRefused(committed.Detail ?? "") is { } error ? Fail(error, write.Warnings) : null;
            default:
                return Fail(StatusError.Conflict(definition.Plural, definition.Group, _key.Name,
                    "the node has been taken over since it promised the place; the pod will be scheduled again") with
                {
                    Causes = [new StatusCause(FenceMoved, "the promise is void", null)],
                });
        }
    }

    /// <summary>True for the refusal of a binding whose node has a new authority, or a new epoch of the same.</summary>
    internal static bool IsFenceMoved(StatusError error) => error.Causes.Any(c => c.Reason == FenceMoved);

    /// <summary>
    /// True if the store shows exactly what a commit of unknown outcome would have written: it was this call's own, and deciding again would do it twice.
    /// </summary>
    private bool WasCommitted(Tried tried) => tried.Commit.Kind == CommitKind.Delete
        ? _current is null
        : _current is not null && _current.Revision > tried.Commit.ExpectedRevision && _current.Value.AsSpan().SequenceEqual(tried.Commit.Value);

    private async ValueTask LoadAsync(CancellationToken cancellationToken)
    {
        // The store has lost its newest writes since, and what is remembered here may be one of them.
        if (_loaded && _epoch != services.Store.EpochOf(_key.Resource))
            Doubt();
        while (!_loaded)
        {
            var doubt = _doubts;
            var epoch = services.Store.EpochOf(_key.Resource);
            var stored = await services.Store.GetAsync(_key.Resource, _key.StorageKey, cancellationToken);
            // A read that interleaved may have loaded, and a write committed or failed since: what was asked for before that is of no use.
            if (_loaded || doubt != _doubts)
                continue;
            _current = stored;
            _epoch = epoch == 0 ? services.Store.EpochOf(_key.Resource) : epoch;
            _loaded = true;
        }
    }

    /// <summary>True if the store shows another state than the one that was decided on, which is in doubt then.</summary>
    private async ValueTask<bool> HasMovedOnAsync(CancellationToken cancellationToken)
    {
        var known = _current;
        var stored = await services.Store.GetAsync(_key.Resource, _key.StorageKey, cancellationToken);
        if (stored?.Revision == known?.Revision)
            return false;
        Doubt();
        return true;
    }

    // What is in the store is not known any more.
    private void Doubt()
    {
        _loaded = false;
        _doubts++;
    }

    private ObjectReply DryRun(int code, byte[] value, StoredObject? current, bool removal, List<string> warnings, string subresource)
    {
        // A create that was not made has no resourceVersion.
        var bytes = current is null ? value : CanonicalJson.WithRevision(value, current.Revision);
        return new ObjectReply
        {
            Code = code,
            Object = services.View(bytes, _definition!, subresource),
            Revision = current?.Revision ?? 0,
            Warnings = [.. warnings],
            Removed = removal,
        };
    }

    private ObjectReply Succeed(int code, StoredObject stored, List<string> warnings, string subresource = "") => new()
    {
        Code = code,
        Object = services.View(CanonicalJson.WithRevision(stored.Value, stored.Revision), _definition!, subresource),
        Revision = stored.Revision,
        Warnings = warnings.Count == 0 ? [] : [.. warnings],
    };

    private static ObjectReply Fail(StatusError error, List<string>? warnings = null) => new()
    {
        Code = error.Code,
        Error = CanonicalJson.SerializeNode(error.ToJson()),
        Warnings = warnings is null or [] ? [] : [.. warnings],
    };

    /// <summary>A commit that was asked for, and the answer if it turns out to have gone through.</summary>
    private sealed record Tried(Commit Commit, int Code, List<string> Warnings, StoredObject? Removed);

    private StatusError NotFound() => StatusError.NotFound(_definition!.Plural, _definition.Group, _key.Name);

    private StatusError StoreAway(StoreUnavailableException error)
    {
        Log.StoreAway(logger, _key, error);
        return StatusError.Timeout("the store does not answer; the outcome of the request is unknown");
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Debug, "{Key}: expected revision {Expected}, found {Found}; deciding again")]
        public static partial void Conflict(ILogger logger, ObjectKey key, long expected, long found);

        [LoggerMessage(LogLevel.Warning, "{Key}: the store does not answer")]
        public static partial void StoreAway(ILogger logger, ObjectKey key, Exception error);
    }
}
