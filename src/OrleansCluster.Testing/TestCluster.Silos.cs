using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging.Abstractions;
using OrleansCluster.Hosting;
using OrleansCluster.Hosting.Clustering;
using OrleansCluster.Storage;

namespace OrleansCluster.Testing;

/// <summary>A cluster of several silos and API servers: the hosts of the roles, all in the test's process.</summary>
public sealed partial class TestCluster
{
    private readonly List<IHost?> _silos = [];
    private readonly List<WebApplication> _furtherServers = [];
    private IObjectStore? _sharedStore;
    private LocalCluster? _local;

    /// <summary>Where the API servers are; the first is <see cref="BaseAddress"/>.</summary>
    public IReadOnlyList<Uri> BaseAddresses => [BaseAddress, .. _furtherServers.Select(AddressOf)];

    /// <summary>Number of silos ever started; their numbers go from 0.</summary>
    public int SiloCount => _silos.Count;

    private bool IsSpread => _options.Silos > 1 || _options.ApiServers > 0;

    private LocalCluster Local => _local ?? throw new InvalidOperationException("The cluster has one silo: ask for more with TestClusterOptions.Silos.");

    /// <summary>The services of a silo, e.g. its grain factory.</summary>
    /// <param name="number">Its number.</param>
    public IServiceProvider Silo(int number) =>
        (_silos[number] ?? throw new InvalidOperationException($"Silo {number} does not run.")).Services;

    /// <summary>Ends a silo as if its process had been killed: its grains say nothing and hand nothing over.</summary>
    /// <param name="number">Its number.</param>
    public async Task KillSiloAsync(int number)
    {
        using var now = new CancellationTokenSource();
        await now.CancelAsync();
        await EndSiloAsync(number, now.Token);
    }

    /// <summary>Ends a silo politely, as SIGTERM does.</summary>
    /// <param name="number">Its number.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public Task StopSiloAsync(int number, CancellationToken cancellationToken = default) => EndSiloAsync(number, cancellationToken);

    /// <summary>Adds a silo and returns its number.</summary>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<int> AddSiloAsync(CancellationToken cancellationToken = default)
    {
        var silo = SiloHost.Build(new SiloHostOptions
        {
            DataDirectory = DataDirectory,
            Cluster = new ClusterAddress { Local = Local },
            SiloPort = GatewayFile.FreePort(),
            GatewayPort = GatewayFile.FreePort(),
            Time = _options.Time,
            ConfigureControlPlane = _options.ConfigureControlPlane,
            ConfigureServices = ConfigureHost,
        });
        _silos.Add(silo);
        await silo.StartAsync(cancellationToken);
        return _silos.Count - 1;
    }

    /// <summary>The membership table is lost, as when its store restarts without its file.</summary>
    internal void ForgetMembership() => Local.Membership.Forget();

    private async Task<WebApplication> StartSpreadAsync(CancellationToken cancellationToken)
    {
        _sharedStore = SqliteObjectStore.Open(
            new SqliteStoreOptions { Path = _options.InMemory ? "" : Path.Combine(DataDirectory, "store", "objects.db") }, _options.Time, NullLogger<SqliteObjectStore>.Instance);
        _local = new LocalCluster(_sharedStore);
        for (var i = 0; i < _options.Silos; i++)
            await AddSiloAsync(cancellationToken);
        for (var i = 1; i < _options.ApiServers; i++)
        {
            var server = BuildServer(0);
            _furtherServers.Add(server);
            await server.StartAsync(cancellationToken);
        }
        return BuildServer(_port);
    }

    private WebApplication BuildServer(int port) => ApiServerHost.Build(new ApiServerHostOptions
    {
        DataDirectory = DataDirectory,
        Cluster = new ClusterAddress { Local = Local },
        Endpoint = new IPEndPoint(IPAddress.Loopback, port),
        Time = _options.Time,
        ConfigureServices = ConfigureHost,
    });

    private async Task EndSiloAsync(int number, CancellationToken cancellationToken)
    {
        if (_silos[number] is not { } silo)
            return;
        _silos[number] = null;
        try
        {
            await silo.StopAsync(cancellationToken);
        }
        catch (OperationCanceledException)
        {
            // As asked for.
        }
        finally
        {
            await ((IAsyncDisposable)silo).DisposeAsync();
        }
    }

    private async Task StopSpreadAsync()
    {
        foreach (var server in _furtherServers)
        {
            await server.StopAsync();
            await server.DisposeAsync();
        }
        _furtherServers.Clear();
        for (var i = _silos.Count - 1; i >= 0; i--)
            await EndSiloAsync(i, CancellationToken.None);
        _silos.Clear();
        _local = null;
        if (_sharedStore is { } store)
            await store.DisposeAsync();
        _sharedStore = null;
    }

    private static Uri AddressOf(WebApplication server) =>
        new(server.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First());
}
