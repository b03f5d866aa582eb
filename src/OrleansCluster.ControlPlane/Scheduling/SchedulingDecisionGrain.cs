using System.Diagnostics;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging;
using OrleansCluster.Api;
using OrleansCluster.ControlPlane.Controllers;
using OrleansCluster.Scheduling;

namespace OrleansCluster.ControlPlane.Scheduling;

/// <summary>
/// One pod's way to its node. Data path of an attempt, whose step numbers the code names:
/// <code>
///   queue (1) ──► this grain: (2) read the pod ──► (3) filter and score on the silo's ClusterView ──► (4) node grain: reserve
///                     ▲ next best, up to 5 tries ◄── refused ──────────────────────────────────────────────┘ promised, with epoch
///   change log ◄── (6) commit: pod unbound? node's epoch current? ◄── (5) pod's object grain: bind ◄───────────┘
/// </code>
/// Nothing here is needed to be right: the node admits what fits, and the commit of step (6) refuses what is stale. Keeps its trace.
/// </summary>
[CollectionAgeLimit(Minutes = 2)]
public sealed partial class SchedulingDecisionGrain(
    ClusterView cluster,
    SchedulingProfiles profiles,
    IGrainFactory grains,
    ControllerEvents events,
    TimeProvider time,
    ILogger<SchedulingDecisionGrain> logger) : Grain, ISchedulingDecisionGrain
{
    /// <summary>Nodes asked in one attempt. Refusals come from other silos' decisions of the same moment; more than a few mean a full cluster.</summary>
    private const int MaxTries = 5;

    private DecisionTrace? _trace;
    private string _lastMessage = "";

    /// <inheritdoc/>
    public Task<byte[]?> GetTraceAsync(CancellationToken cancellationToken) =>
        Task.FromResult(_trace is null ? null : CanonicalJson.SerializeNode(_trace.ToJson()));

    /// <inheritdoc/>
    public async Task<DecisionOutcome> DecideAsync(DecisionRequest request, CancellationToken cancellationToken)
    {
        var pod = PodReader.Read(request.Pod); // (2)
        if (profiles.Find(pod.SchedulerName) is not { } profile)
            return new DecisionOutcome { Result = DecisionResult.Obsolete };

        _trace ??= new DecisionTrace(request.PodKey, pod.Uid);
        // The seed follows from pod and attempt: the same decision on the same state can be made again.
        var seed = HashCode.Combine(pod.Uid, request.Attempt);
        var attempt = _trace.Begin(time.GetUtcNow(), profile.Name, seed);
        var outcome = await AttemptAsync(request, pod, profile, attempt, new Random(seed), cancellationToken);
        attempt["result"] = outcome.Result.ToString();
        if (outcome.Message.Length > 0)
            attempt["message"] = outcome.Message;
        return outcome;
    }

    private async Task<DecisionOutcome> AttemptAsync(
        DecisionRequest request, PodRequirements pod, SchedulingProfile profile, JsonObject attempt, Random random, CancellationToken cancellationToken)
    {
        var excluded = new HashSet<string>(StringComparer.Ordinal);
        SelectionResult selection;
        for (var tries = 1; ; tries++)
        {
            var started = Stopwatch.GetTimestamp();
            selection = NodeSelection.Select(pod, profile, cluster.Slots, excluded, random); // (3)
            var entry = DecisionTrace.AddTry(attempt, selection, Stopwatch.GetElapsedTime(started));
            if (selection.Node is not { } node)
                break;
            cluster.Assume(pod, node);
            var promise = await grains.GetGrain<INodeGrain>(node).ReserveAsync( // (4)
                new ReserveRequest { PodUid = pod.Uid, PodKey = request.PodKey, Pod = request.Pod }, cancellationToken);
            entry["reservation"] = promise.Admitted ? "admitted" : string.Join(", ", promise.Reasons);
            if (!promise.Admitted)
            {
                cluster.Forget(pod.Uid);
                excluded.Add(node);
                if (tries == MaxTries)
                    return new DecisionOutcome { Result = DecisionResult.Failed, Message = $"{tries} nodes refused: {string.Join(", ", promise.Reasons)}" };
                continue;
            }
            return await BindAsync(request, pod, node, promise.Epoch, cancellationToken);
        }
        var message = UnschedulableMessage.From(selection);
        await ReportUnschedulableAsync(request, message, cancellationToken);
        return new DecisionOutcome { Result = DecisionResult.Unschedulable, Message = message };
    }

    private async Task<DecisionOutcome> BindAsync(
        DecisionRequest request, PodRequirements pod, string node, long epoch, CancellationToken cancellationToken)
    {
        var key = ObjectKey.FromStorageKey("pods", request.PodKey);
        var binding = new JsonObject
        {
            ["kind"] = "Binding",
            ["apiVersion"] = "v1",
            ["metadata"] = new JsonObject { ["name"] = key.Name, ["namespace"] = key.Namespace, ["uid"] = pod.Uid },
            ["target"] = new JsonObject { ["kind"] = "Node", ["name"] = node },
        };
        var reply = await Writer().ExecuteAsync( // (5)
            key, new ObjectRequest { Verb = ObjectVerb.Bind, Body = CanonicalJson.SerializeNode(binding), NodeEpoch = epoch }, cancellationToken);
        if (reply.IsSuccess)
        {
            events.For(SchedulingProfiles.DefaultName).Record(CanonicalJson.Parse(request.Pod), "Normal", "Scheduled", $"Successfully assigned {request.PodKey} to {node}");
            return new DecisionOutcome { Result = DecisionResult.Bound, Node = node };
        }
        cluster.Forget(pod.Uid);
        await grains.GetGrain<INodeGrain>(node).ReleaseAsync(pod.Uid, cancellationToken);
        // Gone, replaced by a namesake, or bound by another: nothing left to decide. A moved fence is worth another attempt at once.
        var error = reply.GetError()!;
        Log.NotBound(logger, request.PodKey, node, error.Message);
        return new DecisionOutcome
        {
            Result = error.Code is 404 || (error.Code == 409 && !error.Message.Contains("taken over", StringComparison.Ordinal))
                ? DecisionResult.Obsolete : DecisionResult.Failed,
            Message = error.Message,
        };
    }

    private async Task ReportUnschedulableAsync(DecisionRequest request, string message, CancellationToken cancellationToken)
    {
        var pod = CanonicalJson.Parse(request.Pod);
        events.For(SchedulingProfiles.DefaultName).Record(pod, "Warning", "FailedScheduling", message);
        if (message == _lastMessage)
            return;
        var now = time.Stamp();
        var others = pod.Items("status", "conditions").Where(c => c.Text("type") != "PodScheduled").Select(c => c.DeepClone());
        var condition = new JsonObject
        {
            ["type"] = "PodScheduled",
            ["status"] = "False",
            ["reason"] = "Unschedulable",
            ["message"] = message,
            ["lastProbeTime"] = null,
            ["lastTransitionTime"] = now,
        };
        var patch = new JsonObject
        {
            ["metadata"] = new JsonObject { ["uid"] = pod.Text("metadata", "uid") },
            ["status"] = new JsonObject { ["conditions"] = new JsonArray([.. others, condition]) },
        };
        try
        {
            await Writer().PatchAsync(ObjectKey.FromStorageKey("pods", request.PodKey), patch, "status", cancellationToken);
            _lastMessage = message;
        }
        catch (StatusException error)
        {
            Log.NotReported(logger, request.PodKey, error.Message); // The next attempt says it again.
        }
    }

    private ObjectWriter Writer() => new(grains, time, UserInfo.ControlPlane);

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Information, "{Pod} was not bound to {Node}: {Error}")]
        public static partial void NotBound(ILogger logger, string pod, string node, string error);

        [LoggerMessage(LogLevel.Debug, "{Pod}: the reason it is unschedulable could not be written: {Error}")]
        public static partial void NotReported(ILogger logger, string pod, string error);
    }
}
