using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace OrleansCluster.Kubelet.Operations;

/// <summary>The process-wide instruments of node agents, under the kubelet's names, and the source of their spans.</summary>
internal static class KubeletTelemetry
{
    /// <summary>Name of meter and activity source.</summary>
    public const string Name = "OrleansCluster.Kubelet";

    /// <summary>Spans of pod starts.</summary>
    public static readonly ActivitySource Source = new(Name);

    private static readonly Meter Meter = new(Name);

    /// <summary>From the agent's first sight of a pod to its first status that says Running.</summary>
    public static readonly Histogram<double> PodStart = Meter.CreateHistogram(
        "kubelet_pod_start_duration_seconds", null, "Time from the agent's first sight of a pod to its containers running, image pulls included.",
        null, new InstrumentAdvice<double> { HistogramBucketBoundaries = [0.05, 0.1, 0.25, 0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200] });

    private static readonly Counter<long> Operations = Meter.CreateCounter<long>(
        "kubelet_runtime_operations_total", null, "Operations on the container engine by type.");

    private static readonly Counter<long> Errors = Meter.CreateCounter<long>(
        "kubelet_runtime_operations_errors_total", null, "Operations on the container engine that failed, by type.");

    private static readonly Histogram<double> Durations = Meter.CreateHistogram(
        "kubelet_runtime_operations_duration_seconds", null, "Duration of operations on the container engine by type.",
        null, new InstrumentAdvice<double> { HistogramBucketBoundaries = [.. Enumerable.Range(0, 14).Select(static i => 0.005 * Math.Pow(2.5, i))] });

    /// <summary>One kind of operation on the engine, in the kubelet's words, with its label made once.</summary>
    internal sealed class Operation(string type)
    {
        private readonly KeyValuePair<string, object?> _tag = new("operation_type", type);

        public static Operation Version { get; } = new("version");

        public static Operation CreateSandbox { get; } = new("create_podsandbox");

        public static Operation RunSandbox { get; } = new("run_podsandbox");

        public static Operation RemoveSandbox { get; } = new("remove_podsandbox");

        public static Operation ListSandboxes { get; } = new("list_podsandbox");

        public static Operation CreateContainer { get; } = new("create_container");

        public static Operation StartContainer { get; } = new("start_container");

        public static Operation StopContainer { get; } = new("stop_container");

        public static Operation KillContainer { get; } = new("kill_container");

        public static Operation RemoveContainer { get; } = new("remove_container");

        public static Operation InspectContainer { get; } = new("container_status");

        public static Operation ListContainers { get; } = new("list_containers");

        public static Operation Exec { get; } = new("exec");

        /// <summary>Runs it.</summary>
        public async Task<T> RunAsync<T>(Func<Task<T>> call)
        {
            var start = Stopwatch.GetTimestamp();
            // Operations of nobody's trace (a relist, a probe) begin none.
            using var span = Activity.Current is null ? null : Source.StartActivity(type, ActivityKind.Client);
            Operations.Add(1, _tag);
            try
            {
                return await call();
            }
            catch (Exception error) when (error is not OperationCanceledException)
            {
                Errors.Add(1, _tag);
                span?.SetStatus(ActivityStatusCode.Error, error.GetType().Name);
                throw;
            }
            finally
            {
                Durations.Record(Stopwatch.GetElapsedTime(start).TotalSeconds, _tag);
            }
        }

        /// <summary>Runs one without a result.</summary>
        public Task RunAsync(Func<Task> call) => RunAsync(async () =>
        {
            await call();
            return true;
        });
    }
}
