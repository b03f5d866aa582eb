using System.Collections.Concurrent;
using System.Text.Json.Nodes;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using OrleansCluster.Api;

namespace OrleansCluster.ControlPlane.Controllers;

/// <summary>The controllers of this silo by name.</summary>
public sealed class ControllerRegistry
{
    private readonly Dictionary<string, IController> _byName;

    /// <summary>Makes the registry.</summary>
    /// <exception cref="ArgumentException">Two controllers share a name, or a name holds the separator of grain keys.</exception>
    public ControllerRegistry(IEnumerable<IController> controllers)
    {
        All = [.. controllers];
        if (All.FirstOrDefault(c => c.Name.Contains('|', StringComparison.Ordinal)) is { } bad)
            throw new ArgumentException($"Controller name '{bad.Name}' must not contain '|'.", nameof(controllers));
        _byName = All.ToDictionary(c => c.Name, StringComparer.Ordinal);
    }

    /// <summary>All controllers.</summary>
    public IReadOnlyList<IController> All { get; }

    /// <summary>By name, or null.</summary>
    public IController? Find(string name) => _byName.GetValueOrDefault(name);
}

/// <summary>
/// One event recorder per controller, so that each Event names its source. They write through grains and must end before the silo does: as the hosted service
/// that is registered first after the silo it is the last one to stop before it. What is recorded later is dropped.
/// </summary>
public sealed class ControllerEvents(
    IGrainFactory grains, ResourceRegistry registry, TimeProvider time, Random random, ILoggerFactory loggers) : IHostedService, IAsyncDisposable
{
    private volatile bool _stopped;

    private readonly ConcurrentDictionary<string, Lazy<EventRecorder>> _recorders = new(StringComparer.Ordinal);

    /// <summary>The recorder of a component, e.g. `replication-controller`.</summary>
    public IEventRecorder For(string component) => _stopped ? Dropped.Instance : _recorders.GetOrAdd(component, name => new Lazy<EventRecorder>(() => EventRecorder.Start(
            new ObjectWriter(grains, time, UserInfo.ControlPlane, random), registry, time, loggers.CreateLogger<EventRecorder>(), name))).Value;

    /// <inheritdoc/>
    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <summary>Stops the recorders.</summary>
    public async Task StopAsync(CancellationToken cancellationToken) => await DisposeAsync();

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        _stopped = true;
        foreach (var component in _recorders.Keys)
        {
            if (_recorders.TryRemove(component, out var recorder) && recorder.IsValueCreated)
                await recorder.Value.DisposeAsync();
        }
    }

    private sealed class Dropped : IEventRecorder
    {
        public static Dropped Instance { get; } = new();

        public void Record(JsonObject about, string type, string reason, string message, string? fieldPath = null)
        {
            // The silo is going; events are best effort.
        }
    }
}

/// <summary>Registration of controllers.</summary>
public static class ControllerRegistration
{
    /// <summary>Adds a controller; it takes part from the next start of the silo. The built-in ones are added the same way.</summary>
    public static IServiceCollection AddController<TController>(this IServiceCollection services)
        where TController : class, IController =>
        services.AddSingleton<IController, TController>();
}
