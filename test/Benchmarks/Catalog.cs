using OrleansCluster.Benchmarks.Scenarios;

namespace OrleansCluster.Benchmarks;

/// <summary>All scenarios, in the order of `all`.</summary>
internal static class Catalog
{
    public static IReadOnlyList<IScenario> All { get; } =
    [
        new StoreCommitsScenario(), new StoreRedisScenario(), new StartupScenario(), new ApiCrudScenario(), new ApiListScenario(), new ApiWatchScenario(),
        new SchedulePlainScenario(), new MemoryScenario(), new PodStartScenario(),
    ];

    public static IScenario Find(string name) => All.FirstOrDefault(s => s.Name == name)
        ?? throw new ArgumentException($"There is no scenario '{name}'; --list shows them all.");
}
