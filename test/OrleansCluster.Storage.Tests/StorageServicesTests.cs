using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace OrleansCluster.Storage.Tests;

public sealed class StorageServicesTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private static IHost Build(Action<IServiceCollection> configure)
    {
        var builder = Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings());
        builder.Services.AddSingleton(TestObjects.Registry);
        configure(builder.Services);
        return builder.Build();
    }

    [Fact]
    public async Task Store_caches_and_sweeper_come_up_and_go_down_with_the_host()
    {
        var path = Path.Combine(Directory.CreateTempSubdirectory("store-services-").FullName, "store.db");
        using (var host = Build(s => s.AddSqliteObjectStore(o => o.Path = path).AddResourceCaches().AddExpirySweeper()))
        {
            await host.StartAsync(Token);
            Assert.True(File.Exists(path), "The store opens with the host.");
            var store = host.Services.GetRequiredService<IObjectStore>();
            await store.CommitAsync(TestObjects.Put("a/x", 0), Token);
            Assert.Equal(1, (await host.Services.GetRequiredService<IResourceCaches>().Get("pods").GetLatestAsync(Token)).Count);
            await host.StopAsync(Token);
            await ((IAsyncDisposable)host).DisposeAsync();
        }
        Assert.False(File.Exists(path + "-wal"));
        Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
    }

    [Fact]
    public async Task A_bad_option_ends_the_start()
    {
        using var host = Build(s => s.AddSqliteObjectStore(o => o.MaxGroup = -1).AddResourceCaches(o => o.BatchSize = 0).AddExpirySweeper(o => o.BatchSize = 0));
        var exception = await Assert.ThrowsAnyAsync<Exception>(() => host.StartAsync(Token));
        Assert.True(exception is OptionsValidationException or AggregateException, exception.ToString());
        await ((IAsyncDisposable)host).DisposeAsync();
    }

    [Fact]
    public async Task A_store_out_of_reach_ends_the_start_before_anything_else_begins()
    {
        var other = new Recorder();
        using var host = Build(s => s
            .Configure<HostOptions>(options => options.ServicesStartConcurrently = true)
            .AddSingleton<IHostedService>(other)
            .AddRedisObjectStore(o =>
            {
                o.ConnectionString = "127.0.0.1:1";
                o.ConnectTimeout = TimeSpan.FromMilliseconds(200);
            }));
        var exception = await Assert.ThrowsAsync<StoreUnavailableException>(() => host.StartAsync(Token));
        Assert.Contains("127.0.0.1:1", exception.Message, StringComparison.Ordinal);
        Assert.False(other.HasStarted);
        await ((IAsyncDisposable)host).DisposeAsync();
    }

    private sealed class Recorder : IHostedService
    {
        public bool HasStarted { get; private set; }

        public Task StartAsync(CancellationToken cancellationToken)
        {
            HasStarted = true;
            return Task.CompletedTask;
        }

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
