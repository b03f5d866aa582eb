using System.Globalization;
using System.Diagnostics;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;

namespace OrleansCluster.Hosting;

/// <summary>
/// Traces by OpenTelemetry. They are exported by OTLP if one of OpenTelemetry's own variables names a collector (`OTEL_EXPORTER_OTLP_ENDPOINT`,
/// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`); else nothing listens, no grain call carries anything, and a span costs one comparison.
/// </summary>
internal static class Traces
{
    /// <summary>True if somebody wants traces.</summary>
    public static bool Wanted =>
        (Environment.GetEnvironmentVariable("OTEL_EXPORTER_OTLP_ENDPOINT") is { Length: > 0 }
            || Environment.GetEnvironmentVariable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") is { Length: > 0 })
        && !string.Equals(Environment.GetEnvironmentVariable("OTEL_TRACES_EXPORTER"), "none", StringComparison.OrdinalIgnoreCase)
        && !string.Equals(Environment.GetEnvironmentVariable("OTEL_SDK_DISABLED"), "true", StringComparison.OrdinalIgnoreCase);

    /// <summary>Adds the export if it is wanted.</summary>
    /// <param name="services">The host's services.</param>
    /// <param name="name">Name of the service unless `OTEL_SERVICE_NAME` says otherwise.</param>
    public static void AddTraces(this IServiceCollection services, string name)
    {
        if (Wanted)
            services.AddTraceSources(name, static traces => traces.AddOtlpExporter());
    }

    /// <summary>Listens to all spans of this project, and to those of the web server and of grain calls, which tie them together.</summary>
    internal static void AddTraceSources(this IServiceCollection services, string name, Action<TracerProviderBuilder> export) =>
        services.AddOpenTelemetry()
            .ConfigureResource(resource => resource.AddService(name).AddEnvironmentVariableDetector())
            .WithTracing(traces => export(traces
                // Orleans tells its own grains from those of applications by the namespace's first letters, and so takes ours for its own.
                .AddSource("OrleansCluster*", "Microsoft.AspNetCore", "Microsoft.Orleans.Application", "Microsoft.Orleans.Runtime")
                .SetSampler(new RequestSampler(SamplerOf(Environment.GetEnvironmentVariable)))));

    /// <summary>Takes the span of a probe or a scrape out of its trace, and everything that follows from it.</summary>
    internal static void LeaveOut(Activity? span)
    {
        if (span is null)
            return;
        span.IsAllDataRequested = false;
        span.ActivityTraceFlags &= ~ActivityTraceFlags.Recorded;
    }

    /// <summary>The sampler that OpenTelemetry's variables name; its own reading of them ends where a sampler is set.</summary>
    internal static Sampler SamplerOf(Func<string, string?> variable)
    {
        Sampler Ratio() => new TraceIdRatioBasedSampler(
            double.TryParse(variable("OTEL_TRACES_SAMPLER_ARG"), NumberStyles.Float, CultureInfo.InvariantCulture, out var ratio) && ratio is >= 0 and <= 1 ? ratio : 1);
        return variable("OTEL_TRACES_SAMPLER") switch
        {
            "always_on" => new AlwaysOnSampler(),
            "always_off" => new AlwaysOffSampler(),
            "traceidratio" => Ratio(),
            "parentbased_always_off" => new ParentBasedSampler(new AlwaysOffSampler()),
            "parentbased_traceidratio" => new ParentBasedSampler(Ratio()),
            _ => new ParentBasedSampler(new AlwaysOnSampler()),
        };
    }

    /// <summary>
    /// Only a request from outside begins a trace, and everything that follows from it belongs to it or not as the request does. Grain calls of loops and
    /// heartbeats, thousands a minute, would each begin one of their own.
    /// </summary>
    internal sealed class RequestSampler(Sampler inner) : Sampler
    {
        /// <summary>What the web server calls the span of a request before it is given a better name.</summary>
        private const string RequestName = "Microsoft.AspNetCore.Hosting.HttpRequestIn";

        public override SamplingResult ShouldSample(in SamplingParameters samplingParameters)
        {
            if (samplingParameters.Name == RequestName)
                return inner.ShouldSample(samplingParameters);
            return new SamplingResult(samplingParameters.ParentContext.TraceFlags.HasFlag(ActivityTraceFlags.Recorded) ? SamplingDecision.RecordAndSample : SamplingDecision.Drop);
        }
    }
}
