using System.Collections.Concurrent;
using Microsoft.Extensions.DependencyInjection;
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

/// <summary>One event recorder per controller, so that each Event names its source; disposed with the silo.</summary>
public sealed class ControllerEvents(
    IGrainFactory grains, ResourceRegistry registry, TimeProvider time, Random random, ILoggerFactory loggers) : IAsyncDisposable
{
    private readonly ConcurrentDictionary<string, Lazy<EventRecorder>> _recorders = new(StringComparer.Ordinal);

    /// <summary>The recorder of a component, e.g. `replication-controller`.</summary>
    public IEventRecorder For(string component) =>
        _recorders.GetOrAdd(component, name => new Lazy<EventRecorder>(() => EventRecorder.Start(
            new ObjectWriter(grains, time, UserInfo.ControlPlane, random), registry, time, loggers.CreateLogger<EventRecorder>(), name))).Value;

    /// <summary>Stops the recorders.</summary>
    public async ValueTask DisposeAsync()
    {
        foreach (var recorder in _recorders.Values)
        {
            if (recorder.IsValueCreated)
                await recorder.Value.DisposeAsync();
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
