using Microsoft.Extensions.Logging;
using StackExchange.Redis;

namespace OrleansCluster.Storage;

/// <summary>
/// Runs scripts so that a store that has lost its newest writes is noticed before anything is read from it or written to it.
/// <para>
/// A resource lives in epochs. Within one, revisions count without a gap. When acknowledged writes may be gone (an older file restored, a replica
/// that had not received everything promoted, a server restarted without a durable log), the resource enters a new epoch that begins above every
/// revision ever given out; everything before counts as compacted, so readers start from a snapshot, and fences are raised above all they ever were.
/// </para>
/// <para>
/// Noticing: a run is one life of a server's process (`run_id`) and of its history (`master_replid`). Every script's text names the run and the
/// resource it is bound to, so another process does not know its SHA and answers NOSCRIPT. The text is then sent whole and compares the run itself,
/// in the same step; so it is after every reconnect, for a server that was demoted and promoted again has kept its scripts. If the run is another, or
/// the resource's epoch, run or revision are not what this process knows, the script does nothing and the process opens the resource: one
/// script decides, atomically, whether the resource goes on or enters a new epoch (open.lua). So each process passes this gate once per run.
/// </para>
/// </summary>
internal sealed class RedisEpochs(RedisConnections connections, RedisStoreOptions options, RedisMetrics metrics, ILogger logger)
{
    /// <summary>Times a resource is opened for one call. More than one needs further runs or epochs meanwhile.</summary>
    private const int MaxOpenings = 4;

    /// <summary>Called after a resource has entered a new epoch: its tails must look.</summary>
    public Action<RedisResource>? EpochChanged { get; set; }

    /// <summary>
    /// Runs a script. The first <see cref="RedisScript.HeaderLength"/> arguments are filled in here. The result's first two elements (a code, the
    /// newest revision) have been looked at.
    /// </summary>
    /// <param name="database">Where to send it.</param>
    /// <param name="resource">The resource.</param>
    /// <param name="script">The script.</param>
    /// <param name="keys">Its keys, the resource's meta hash first.</param>
    /// <param name="arguments">Its arguments.</param>
    /// <param name="replicate">True to wait for replicas as configured.</param>
    /// <param name="cancellationToken">Ends the wait, not what has been sent.</param>
    /// <exception cref="StoreUnavailableException">No answer; if the script writes, the outcome is unknown.</exception>
    public async ValueTask<RedisResult[]> RunAsync(
        IDatabase database, RedisResource resource, RedisScript script, RedisKey[] keys, RedisValue[] arguments, bool replicate, CancellationToken cancellationToken)
    {
        RedisSession? stale = null;
        for (var openings = 0; openings <= MaxOpenings; openings++)
        {
            var session = resource.Session;
            if (session is null || ReferenceEquals(session, stale))
                session = await OpenAsync(resource, stale, force: false, cancellationToken);
            try
            {
                if (replicate && options.MinReplicas > 0 && connections.IsCluster)
                    session.Owner ??= await database.IdentifyEndpointAsync(resource.Meta, CommandFlags.DemandMaster);
                var result = await SendAsync(database, session, resource, script, keys, arguments, replicate, cancellationToken);
                if ((int)result[0] == 0)
                {
                    resource.Saw((long)result[1]);
                    return result;
                }
            }
            catch (Exception e) when (RedisErrors.IsOutage(e))
            {
                throw RedisErrors.Unavailable(e);
            }
            stale = session;
        }
        throw new StoreUnavailableException($"Redis changes its run or the epoch of {resource.Name} faster than it can be used.");
    }

    /// <summary>Begins a new epoch, whatever is found: after data has been replaced by other means than this store's.</summary>
    /// <returns>The epoch's first revision.</returns>
    public async ValueTask<long> BeginAsync(RedisResource resource, CancellationToken cancellationToken)
    {
        await OpenAsync(resource, resource.Session, force: true, cancellationToken);
        return resource.Known;
    }

    private async ValueTask<RedisResult[]> SendAsync(
        IDatabase database, RedisSession session, RedisResource resource, RedisScript script, RedisKey[] keys, RedisValue[] arguments, bool replicate,
        CancellationToken cancellationToken)
    {
        var bound = session.Script(script);
        var generation = connections.Generation;
        arguments[0] = session.Epoch;
        arguments[1] = resource.Known;
        arguments[2] = RedisValue.EmptyString;
        if (bound.Proved == generation)
        {
            try
            {
                var running = database.ScriptEvaluateAsync(bound.Sha, keys, arguments, CommandFlags.DemandMaster);
                return await FinishAsync(database, session, running, replicate, cancellationToken);
            }
            catch (RedisServerException e) when (RedisErrors.IsUnknownScript(e))
            {
                // Another run, or a server that was told to forget its scripts.
            }
        }
        arguments[2] = "1";
        var command = new object[2 + keys.Length + arguments.Length];
        command[0] = bound.Text;
        command[1] = keys.Length;
        for (var i = 0; i < keys.Length; i++)
            command[2 + i] = keys[i];
        for (var i = 0; i < arguments.Length; i++)
            command[2 + keys.Length + i] = arguments[i];
        var result = await FinishAsync(database, session, database.ExecuteAsync("EVAL", command, CommandFlags.DemandMaster), replicate, cancellationToken);
        bound.Proved = generation;
        return result;
    }

    private async ValueTask<RedisResult[]> FinishAsync(
        IDatabase database, RedisSession session, Task<RedisResult> running, bool replicate, CancellationToken cancellationToken)
    {
        if (!replicate || options.MinReplicas == 0)
            return (RedisResult[])(await running.WaitAsync(cancellationToken))!;
        // Sent right behind, so that it waits for exactly the writes of this connection, and before the script's answer is known.
        var waiting = connections.WaitForReplicasAsync(database, session.Owner);
        RedisResult[] result;
        try
        {
            result = (RedisResult[])(await running.WaitAsync(cancellationToken))!;
        }
        catch
        {
            await ((Task)waiting).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            throw;
        }
        if (await waiting < options.MinReplicas)
        {
            throw new StoreUnavailableException(
                $"Fewer than {options.MinReplicas} replicas confirmed the write within {options.ReplicaTimeout}; whether it stays is unknown.");
        }
        return result;
    }

    private async ValueTask<RedisSession> OpenAsync(RedisResource resource, RedisSession? stale, bool force, CancellationToken cancellationToken)
    {
        await resource.Opening.WaitAsync(cancellationToken);
        try
        {
            var before = resource.Session;
            if (!force && before is not null && !ReferenceEquals(before, stale))
                return before;
            var database = await connections.ReadAsync(cancellationToken);
            var mayHaveLost = connections.FailsOver || !await connections.IsDurableAsync(cancellationToken);
            RedisResult[] result;
            try
            {
                object[] command =
                [
                    RedisScript.Open, 2, resource.Meta, resource.Log,
                    resource.Known, before?.Epoch ?? 0, before?.Run ?? "", mayHaveLost ? "1" : "0", force ? "1" : "0",
                ];
                result = (RedisResult[])(await database.ExecuteAsync("EVAL", command, CommandFlags.DemandMaster))!;
            }
            catch (Exception e) when (RedisErrors.IsOutage(e))
            {
                throw RedisErrors.Unavailable(e);
            }
            var session = new RedisSession((string)result[0]!, (long)result[1], resource.Name);
            var revision = (long)result[2];
            resource.Saw(revision);
            resource.Adopt(session);
            if ((int)result[3] == 1)
                RedisObjectStore.Log.EpochBegun(logger, resource.Name, session.Epoch, revision, session.Run);
            else if (before is not null)
                RedisObjectStore.Log.Reopened(logger, resource.Name, session.Run, session.Epoch, revision);
            if ((before?.Epoch ?? session.Epoch) != session.Epoch || (int)result[3] == 1)
            {
                metrics.EpochChanged(resource.Name);
                EpochChanged?.Invoke(resource);
            }
            return session;
        }
        finally
        {
            resource.Opening.Release();
        }
    }
}
